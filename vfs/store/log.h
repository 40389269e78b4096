/*
** log.h - the write-ahead log: segments, appending, reading (format.h: layout).
**
** Appending belongs to the holder of the writer lock and goes through a
** transaction's own tail; the tail that others see moves only when commit.c
** publishes.  So a rollback is to forget: records beyond the committed tail are
** overwritten by the next transaction, whose first record breaks the chain to
** whatever of them is left behind it.
**
** A segment is durably part of the file before anything leads into it: so a position
** behind the file's end is no torn tail, but a log that somebody truncated.
*/
#ifndef SPM_LOG_H
#define SPM_LOG_H

#include "core.h"

#include <string.h>

/* ---- segments; W ---- */

void spm_segment_release(spm_store *, uint32_t segment);
bool spm_segment_mark(spm_store *, uint32_t segment); /* used; false if it was */
/* Give back what lies behind `keep` segments and is unused: by truncation when
** this process is alone, by holes otherwise (S22). */
int spm_log_shrink(spm_store *, uint32_t keep, bool alone) SPM_MUST_CHECK;

/* ---- appending; W ---- */

/* Where shared memory says that the log goes on must be a place in the log's file: an
** append there is a store to a mapping. */
int spm_log_check_tail(spm_store *, const spm_state *) SPM_MUST_CHECK;
int spm_txn_begin(spm_store *, spm_txn *) SPM_MUST_CHECK;
/* Add changed bytes; full records go to the log, not yet durable. */
int spm_txn_add(spm_store *, spm_txn *, uint32_t block, uint32_t offset, uint32_t length,
                const void *bytes) SPM_MUST_CHECK;
/* Like it, for a whole block whose place in the log is wanted. */
int spm_txn_spill(spm_store *, spm_txn *, uint32_t block, const void *bytes, uint64_t *offset)
    SPM_MUST_CHECK;
/* Append what has been added so far as a record that does not commit. */
int spm_txn_flush(spm_store *, spm_txn *) SPM_MUST_CHECK;
/* Make sure that one more record of `length` bytes of payload cannot fail. */
int spm_txn_reserve(spm_store *, spm_txn *, uint32_t length) SPM_MUST_CHECK;
/* Append the record under construction as the one that ends the transaction. */
int spm_txn_commit(spm_store *, spm_txn *, uint64_t size_after) SPM_MUST_CHECK;
int spm_txn_prepare(spm_store *, spm_txn *, const char *super, uint64_t size_after) SPM_MUST_CHECK;
int spm_txn_settle(spm_store *, spm_txn *, bool commit, uint64_t size_after) SPM_MUST_CHECK;
/* Back to where staging began; to where the transaction began. */
void spm_txn_unstage(spm_store *, spm_txn *);
void spm_txn_rollback(spm_store *, spm_txn *);
void spm_txn_free(spm_txn *);

/* ---- reading ---- */

typedef struct spm_log_reader {
  spm_region *log;
  uint64_t salt;
  spm_log_pos pos;
  uint8_t *buffer; /* a segment read with pread, or NULL to read the mapping */
  uint64_t loaded; /* the segment in it, UINT64_MAX: none                    */
  uint64_t proven; /* checksums up to this LSN were seen to be right before  */
} spm_log_reader;

/* `copied`: read with pread, for what may be damaged (SQLITE_NOMEM possible). */
int spm_log_reader_open(spm_log_reader *, spm_region *log, uint64_t salt, spm_log_pos from,
                        bool copied) SPM_MUST_CHECK;
void spm_log_reader_close(spm_log_reader *);
/* SQLITE_ROW: *record is the next valid one and pos is behind it; SQLITE_DONE: no
** valid record follows; else an error. */
int spm_log_next(spm_log_reader *, const spm_record **record) SPM_MUST_CHECK;
/* A set of segments: SPM_SEGMENT_COUNT bits. */
typedef struct spm_segment_set {
  uint64_t bits[SPM_SEGMENT_COUNT / 64];
} spm_segment_set;
void spm_segment_set_add(spm_segment_set *, uint64_t segment);

/* Is there, anywhere in the log, a record that proves that one after the reader's position
** had been durable (S7)?  Those `passed` need no look: the chain that ends there left them by
** a LINK, and nothing newer can have been written behind that.  The reader is one that copies;
** what it found last is gone. */
int spm_log_proves_loss(spm_log_reader *, const spm_segment_set *passed, bool *proved) SPM_MUST_CHECK;

/* Could a writer have meant this record, whose checksum is right?  Damage that no
** checksum shows is refused rather than half understood. */
bool spm_record_sane(const spm_record *);

/* Walk the entries of a DATA record; false at its end or where it is malformed. */
typedef struct spm_entry_cursor {
  const uint8_t *next, *end;
  spm_entry entry;
  const uint8_t *bytes;
} spm_entry_cursor;

static inline void spm_entries_open(spm_entry_cursor *c, const spm_record *record) {
  c->next = (const uint8_t *)(record + 1);
  c->end = record->type == SPM_REC_DATA ? c->next + record->length : c->next;
}

static inline bool spm_entries_next(spm_entry_cursor *c) {
  if ((size_t)(c->end - c->next) < sizeof c->entry) return false;
  memcpy(&c->entry, c->next, sizeof c->entry);
  uint32_t length = c->entry.length;
  if (length == 0 || length > SPM_BLOCK_SIZE || c->entry.offset > SPM_BLOCK_SIZE - length) return false;
  if ((size_t)(c->end - c->next) < spm_entry_span(length)) return false;
  c->bytes = c->next + sizeof c->entry;
  c->next += spm_entry_span(length);
  return true;
}

#endif
