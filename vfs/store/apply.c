/*
** apply.c - see apply.h.
*/
#include "apply.h"

#include "version.h"

int spm_apply_record(spm_store *s, const spm_record *record, uint64_t size, spm_redo *redo) {
  spm_entry_cursor c;
  int rc = SQLITE_OK;
  for (spm_entries_open(&c, record); rc == SQLITE_OK && spm_entries_next(&c);) {
    /* a later truncate of the same transaction cut it */
    if ((uint64_t)c.entry.block * SPM_BLOCK_SIZE + c.entry.offset >= size) continue;
    rc = redo ? spm_redo_store(s, redo, &c.entry, c.bytes) : spm_redo_at_once(s, &c.entry, c.bytes);
  }
  return rc;
}

/* Call `visit` for every DATA record of `txid` up to and including `to_lsn`. */
static int each_record(spm_store *s, spm_log_pos from, uint64_t to_lsn, uint64_t txid,
                       int (*visit)(spm_store *, const spm_record *, const uint64_t *),
                       const uint64_t *arguments) {
  spm_log_reader r;
  int rc = spm_log_reader_open(&r, &s->log, s->shm->salt, from, false);
  while (rc == SQLITE_OK && r.pos.lsn < to_lsn) {
    const spm_record *record;
    rc = spm_log_next(&r, &record);
    if (rc != SQLITE_ROW) {
      if (rc == SQLITE_DONE)
        rc = spm_error(SQLITE_CORRUPT, "%s: the record after LSN %llu is damaged", s->log.path,
                       (unsigned long long)r.pos.lsn);
      break;
    }
    rc = record->type == SPM_REC_DATA && record->txid == txid ? visit(s, record, arguments) : SQLITE_OK;
  }
  spm_log_reader_close(&r);
  return rc;
}

static int visit_apply(spm_store *s, const spm_record *record, const uint64_t *size) {
  return spm_apply_record(s, record, *size, NULL);
}

int spm_apply_range(spm_store *s, spm_log_pos from, uint64_t to_lsn, uint64_t txid, uint64_t size) {
  return each_record(s, from, to_lsn, txid, visit_apply, &size);
}

static int visit_save(spm_store *s, const spm_record *record, const uint64_t *until_newest) {
  spm_entry_cursor c;
  for (spm_entries_open(&c, record); spm_entries_next(&c);) {
    if ((uint64_t)c.entry.block * SPM_BLOCK_SIZE >= s->shm->covered_size) continue;
    int rc = spm_versions_reserve(s, 1);
    if (rc != SQLITE_OK) return rc;
    rc = spm_versions_save(s, c.entry.block, until_newest[0], until_newest[1]);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

int spm_save_range(spm_store *s, spm_log_pos from, uint64_t to_lsn, uint64_t txid, uint64_t until,
                   uint64_t newest) {
  const uint64_t arguments[2] = {until, newest};
  return each_record(s, from, to_lsn, txid, visit_save, arguments);
}

void spm_mark(spm_store *s, unsigned phase) {
  atomic_store(&s->shm->published, SPM_PUBLISHED(spm_committed_lsn(s->shm), phase));
}

void spm_unmark(spm_store *s) { spm_mark(s, SPM_PHASE_IDLE); }

void spm_publish(spm_store *s, spm_log_pos tail, uint64_t size, uint64_t next_txid) {
  spm_shm *shm = s->shm;
  spm_state *now = spm_committed(shm);
  spm_state *next = now == &shm->state[0] ? &shm->state[1] : &shm->state[0];
  /* Not the valid one until the word says so; its LSN is changed last. */
  next->tail = tail;
  next->next_txid = next_txid;
  atomic_store_explicit(&next->logical_size, size, memory_order_relaxed);
  atomic_store_explicit(&next->lsn, tail.lsn, memory_order_release);
  if (size > shm->covered_size) shm->covered_size = size;
  atomic_store(&shm->published, SPM_PUBLISHED(tail.lsn, SPM_PHASE_IDLE));
}
