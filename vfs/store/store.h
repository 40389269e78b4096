/*
** store.h - the store engine as its users see it: the VFS, and the key-value table.
**
** A store is a byte region, the database file X, with snapshot reads, one writer at
** a time, and atomic durable commits.  What it does not know is SQLite: how X says
** that it belongs to a life (its stamp), how stock SQLite is kept away, and whether
** a super-journal still exists.  That it asks of its host.
**
** All functions return SQLite result codes; every refusal has been explained in the
** error log by then (error.h).  A connection is used by one thread at a time.
*/
#ifndef SPM_STORE_H
#define SPM_STORE_H

#include "error.h"
#include "format.h"
#include "inspect.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct spm_conn spm_conn;
typedef struct spm_region spm_region;

/* What the store asks of whoever keeps something in X: SQLite's databases have one host,
** key-value stores another. */
typedef struct spm_host {
  const char *kind; /* of store, as pmem_stats shows it */
  /* Does the open file carry a stamp, and of which life?  SQLITE_NOTFOUND: no. */
  int (*identify)(int fd, uint8_t life[SPM_LIFE_SIZE]);
  /* Stamp X durably with a life; take the stamp off, the last bytes last. */
  int (*stamp)(spm_region *data, const uint8_t life[SPM_LIFE_SIZE], uint64_t *logical_size);
  int (*unstamp)(spm_region *data, uint64_t logical_size);
  /* Is the transaction that was prepared under this super-journal committed?  An
  ** error if that cannot be known now. */
  int (*decide)(const char *path, const char *super, bool *committed);
  /* The decision is durable: clean up. */
  int (*settled)(const char *path, const char *super);
  /* The life is over, log and shared memory are gone, the gate is still held; NULL: nothing. */
  void (*ended)(const spm_region *data);
} spm_host;

/* When a commit is durable: before it returns; soon after, or at ticks of an interval. */
typedef enum spm_durability { SPM_DURABLE_AT_ONCE, SPM_DURABLE_SOON, SPM_DURABLE_AT_TICKS } spm_durability;

/* Zeros are the options of a store that nobody limits. */
typedef struct spm_store_options {
  uint64_t log_size_max;           /* bytes; never below some segments */
  uint64_t size_max;               /* bytes X may grow to; 0: no limit */
  uint64_t checkpoint_interval_ns; /* 0: only the log's size calls for checkpoints */
  bool unlogged;                   /* wal=off: of the store, while this process has it */
  bool recover_never;              /* a store that needs recovery is refused, as it is */
  bool verify_first;               /* the first attachment has to, before others are let in */
  bool verifying;                  /* is let in, for it belongs to who does that */
  spm_durability durability;       /* of this connection's commits */
  uint64_t flush_interval_ns;      /* above 0, where they are not durable at once */
} spm_store_options;

/* Attach to the stamped file `path`: join those who have it open, or recover it.
** SQLITE_NOTFOUND: it carries no stamp (any more); SQLITE_BUSY: others are just
** opening, verifying or closing it.  Options matter to the first connection of a process. */
int spm_store_join(const char *path, const spm_host *, const spm_store_options *, spm_conn **)
    SPM_MUST_CHECK;
/* Has this connection to look at the whole store, before it uses it and others may attach?
** And: it has, and found nothing wrong. */
bool spm_conn_must_verify(const spm_conn *);
int spm_conn_verified(spm_conn *) SPM_MUST_CHECK;
/* Begin a life: make log and shared memory for the unstamped file `path`, stamp it.
** The caller keeps stock SQLite out until this returns. */
int spm_store_create(const char *path, const spm_host *, const spm_store_options *, spm_conn **)
    SPM_MUST_CHECK;

/* Give up an attachment.  If nobody else has the store open, `exclude` is called to
** keep stock SQLite out; if it returns SQLITE_OK the life ends: X is brought up to
** date and unstamped, log and shared memory vanish.  Otherwise they stay, and the
** next attachment recovers. */
void spm_store_detach(spm_conn *, int (*exclude)(void *), void *argument);

/* Other options for the store, for all connections of this process; durability is this
** connection's.  SQLITE_IOERR: no thread can be had for its flushes. */
int spm_store_configure(spm_conn *, const spm_store_options *) SPM_MUST_CHECK;
/* Those of the store, as they are in force. */
spm_store_options spm_store_configured(const spm_conn *);
/* The id of the life; the medium's name; the file's. */
const uint8_t *spm_store_life(const spm_conn *);
const char *spm_store_medium(const spm_conn *);
const char *spm_store_path(const spm_conn *);
/* Bytes of X as this connection sees them, in its snapshot or its transaction; and as
** they are committed. */
uint64_t spm_conn_size(const spm_conn *);
uint64_t spm_conn_committed_size(const spm_conn *);
/* The LSN of this connection's snapshot, 0 without one; and the newest committed one. */
uint64_t spm_conn_lsn(const spm_conn *);
uint64_t spm_conn_latest_lsn(const spm_conn *);
bool spm_conn_writing(const spm_conn *);
bool spm_conn_modified(const spm_conn *);
/* A flush failed, here or in another process: nothing can be promised (S8). */
bool spm_conn_poisoned(const spm_conn *);
/* Make it so, for a transaction that only recovery can settle. */
void spm_conn_poison(spm_conn *);
/* A fork's child: nothing here belongs to it. */
bool spm_conn_orphaned(const spm_conn *);
/* Is what is committed durable, all of it? */
bool spm_conn_durable(const spm_conn *);
/* Is any connection, of any process, the writer? */
bool spm_conn_writer_exists(const spm_conn *);
/* Has a connection of another process a snapshot? */
bool spm_conn_read_elsewhere(const spm_conn *);

/* ---- snapshots: snapshot.h tells how ---- */
/* Register.  SQLITE_BUSY: a commit under way did not finish in time. */
int spm_snapshot_begin(spm_conn *) SPM_MUST_CHECK;
void spm_snapshot_end(spm_conn *);
/* Register, and let nobody else commit until the snapshot ends: others may become the
** writer, but spm_write_permitted() refuses them.  SQLITE_BUSY: there is a writer. */
int spm_snapshot_hold(spm_conn *) SPM_MUST_CHECK;
/* Read n bytes at offset, below spm_conn_size(): the transaction's own writes first. */
int spm_conn_read(spm_conn *, uint64_t offset, uint32_t n, void *to) SPM_MUST_CHECK;
/* From the next snapshot on, read in place where that is possible (S14): only while
** this is the one attachment, for a writer that comes later has to wait for the end of
** a snapshot that holds pointers. */
void spm_conn_want_pointers(spm_conn *, bool);
/* n bytes of X at `offset` as this snapshot sees them, unchanged until it ends; NULL:
** read a copy. */
const void *spm_conn_pointer(spm_conn *, uint64_t offset, uint32_t n);
/* The SPM_BLOCK_SIZE bytes of a block below spm_conn_size() as this connection sees it,
** where they can be read without a copy; NULL: use spm_conn_read().  For the writer they
** stay as they are until it edits, settles or ends.  For a reader they are X itself, which
** a commit may be changing: read each field once, bound every step, and believe nothing
** before spm_conn_peeked() has said that all that was peeked at since the snapshot began
** is what the snapshot sees. */
const uint8_t *spm_conn_peek(const spm_conn *, uint32_t block);
bool spm_conn_peeked(const spm_conn *) SPM_MUST_CHECK;
/* Read what is committed, whatever this transaction wrote; the writer only. */
int spm_conn_read_committed(spm_conn *, uint64_t offset, uint32_t n, void *to) SPM_MUST_CHECK;

/* ---- writing: commit.h tells how ---- */
/* Become the writer.  SQLITE_BUSY: somebody else is; SQLITE_BUSY_SNAPSHOT: the
** connection's snapshot has been overtaken. */
int spm_write_begin(spm_conn *) SPM_MUST_CHECK;
/* The same for a connection that has no snapshot yet: it gets the newest one, under the
** lock, and cannot be overtaken.  Both end separately. */
int spm_write_begin_latest(spm_conn *) SPM_MUST_CHECK;
/* May this writer commit?  SQLITE_BUSY: another connection holds its snapshot.  The answer
** stays, for who wants to hold one waits for the writer to end. */
int spm_write_permitted(spm_conn *) SPM_MUST_CHECK;
/* Until write_end, others cannot take a snapshot either: SQLITE_BUSY. */
void spm_write_exclude(spm_conn *);
/* Stop being the writer; what was not committed is dropped. */
int spm_write_end(spm_conn *);
/* Write, cut or extend, in the transaction. */
int spm_write(spm_conn *, uint64_t offset, uint32_t n, const void *bytes) SPM_MUST_CHECK;
int spm_write_truncate(spm_conn *, uint64_t size) SPM_MUST_CHECK;
/* The SPM_BLOCK_SIZE bytes of a block in the write set, to be changed in place; a block
** behind the end comes as zeros and moves the end.  For stores whose size is a whole
** number of blocks.  The pointer is good until settle, stage, or the transaction's end. */
int spm_write_edit(spm_conn *, uint32_t block, uint8_t **bytes) SPM_MUST_CHECK;
/* Between two changes that belong together: move a large write set to the log. */
int spm_write_settle(spm_conn *) SPM_MUST_CHECK;
/* Do all of a commit that can fail.  With the name of a super-journal: PREPARE,
** durable on return; from then on only finish and rollback are possible. */
int spm_commit_stage(spm_conn *, const char *super) SPM_MUST_CHECK;
/* This transaction's commit does not wait for media, though nobody flushes it soon either;
** or it must be durable on return, whatever the connection's durability. */
void spm_commit_unsynced(spm_conn *, bool);
void spm_commit_at_once(spm_conn *);
/* Go up to the durability point: what follows is a commit that cannot fail, or a rollback,
** which takes the record back.  Errors as of the commit. */
int spm_commit_harden(spm_conn *) SPM_MUST_CHECK;
/* Commit.  SQLITE_FULL or SQLITE_IOERR_*: the transaction is gone (V1). */
int spm_commit_finish(spm_conn *) SPM_MUST_CHECK;
/* Drop what was written; a prepared transaction gets a durable ABORT record. */
int spm_commit_rollback(spm_conn *);
/* Bring X up to date now.  SQLITE_BUSY: somebody writes. */
int spm_conn_checkpoint(spm_conn *) SPM_MUST_CHECK;
/* The same for the store `path` that this process has open; *lsn is where it got to.
** SQLITE_ERROR: it has not; SQLITE_BUSY: somebody writes, this connection perhaps;
** SQLITE_INTERRUPT: stop(argument), which is asked on the way, has said so. */
int spm_store_checkpoint(const char *path, bool (*stop)(void *), void *argument, uint64_t *lsn) SPM_MUST_CHECK;

/* Make durable all that is committed; in the store `path`, which this process has open. */
int spm_conn_flush(spm_conn *) SPM_MUST_CHECK;
int spm_store_flush(const char *path, uint64_t *lsn) SPM_MUST_CHECK;

/* libpmem's version, the processor's flush instruction, and whether caches are
** persistent (eADR), in words. */
void spm_store_platform(char *text, size_t size);

#endif
