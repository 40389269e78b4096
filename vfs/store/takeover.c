/*
** takeover.c - see takeover.h.
**
** The dead writer left the published word, the states and the log as they were at
** some instruction.  What it had published stands.  Behind that, the log holds at
** most one transaction of it: complete, and then it is finished here as its owner
** would have, or not, and then it is dropped.  Its images (S12): if `saved_lsn`
** names it, all of them are there and X may be half changed; if not, X has not been
** touched, and those that are missing can still be taken from it.  Images saved for
** a transaction that is dropped go with it.
*/
#include "takeover.h"

#include "apply.h"
#include "checkpoint.h"
#include "growth.h"
#include "pending.h"
#include "recovery.h"
#include "snapshot.h"
#include "store.h"
#include "superblock.h"
#include "version.h"

#include <string.h>

/* The dead one may have been moving the checkpoint: media know best. */
static int reload_superblock(spm_store *s) {
  spm_shm *shm = s->shm;
  spm_superblock block;
  int rc = spm_superblock_read(&s->log, &block);
  if (rc != SQLITE_OK) return rc;
  if (block.salt != shm->salt || block.checkpoint.chain == block.salt) {
    /* It may have died between a restart's superblock and the tail in memory. */
    spm_state *state = spm_committed(shm);
    if (block.checkpoint.lsn == state->tail.lsn) state->tail = block.checkpoint;
  }
  shm->salt = block.salt;
  shm->superblock_sequence = block.sequence;
  shm->superblock_size = block.logical_size;
  shm->checkpoint = block.checkpoint;
  shm->checkpoint_size = block.logical_size;
  return SQLITE_OK;
}

/* Segments in use: those that the log passes through from its checkpoint on.  Any
** other was the dead transaction's, or had been freed. */
static int rebuild_segments(spm_store *s, uint64_t to_lsn) {
  spm_shm *shm = s->shm;
  memset(shm->segments, 0, sizeof shm->segments);
  shm->segments_used = 0;
  spm_log_reader r;
  int rc = spm_log_reader_open(&r, &s->log, shm->salt, shm->checkpoint, false);
  for (;;) {
    (void)spm_segment_mark(s, (uint32_t)spm_offset_segment(r.pos.offset));
    const spm_record *record;
    if (rc != SQLITE_OK || r.pos.lsn >= to_lsn) break;
    rc = spm_log_next(&r, &record) == SQLITE_ROW ? SQLITE_OK : SQLITE_CORRUPT;
  }
  spm_log_reader_close(&r);
  return rc;
}

/* Commit what the summary accepted behind the published LSN: at most one. */
static int finish_commit(spm_store *s, const spm_log_summary *sum) {
  spm_shm *shm = s->shm;
  spm_state *state = spm_committed(shm);
  spm_log_pos from = state->tail;
  uint64_t until = sum->accepted.lsn, txid = sum->next_txid - 1, oldest, newest;
  if (sum->committed == 0) {
    spm_publish(s, sum->accepted, atomic_load(&state->logical_size), sum->next_txid);
    return SQLITE_OK;
  }
  int rc = spm_data_grow(s, sum->size);
  spm_mark(s, SPM_PHASE_SMALL);
  spm_snapshot_scan(s, UINT32_MAX, &oldest, &newest);
  if (rc == SQLITE_OK && newest != 0 && shm->saved_lsn != until)
    rc = spm_save_range(s, from, until, txid, until, newest);
  if (rc != SQLITE_OK) return rc;
  shm->saved_lsn = until;
  rc = spm_apply_range(s, from, until, txid, sum->size);
  if (rc == SQLITE_OK) spm_publish(s, sum->accepted, sum->size, sum->next_txid);
  return rc;
}

static int takeover(spm_store *s) {
  spm_shm *shm = s->shm;
  spm_log_summary sum = {0};
  bool committed = false;
  spm_report_begin(s, true);
  int rc = reload_superblock(s);
  if (rc == SQLITE_OK) rc = spm_region_refresh(&s->data);
  if (rc == SQLITE_OK) rc = spm_region_refresh(&s->log);
  if (rc == SQLITE_OK) rc = spm_region_refresh(&s->shared);
  const spm_state *state = spm_committed(shm);
  uint64_t from_lsn = state->tail.lsn;
  shm->counters.takeovers++;
  if (rc == SQLITE_OK) rc = spm_log_check_tail(s, state);
  if (rc == SQLITE_OK)
    rc = spm_log_summarize(s, state->tail, atomic_load(&state->logical_size), NULL, &sum);
  spm_report_phase(s, SPM_RECOVERY_LOAD);
  if (rc == SQLITE_OK && sum.next_txid < state->next_txid) sum.next_txid = state->next_txid;
  if (rc == SQLITE_OK) rc = spm_settle_prepared(s, &sum, &committed);
  if (rc == SQLITE_OK) rc = spm_versions_rebuild(s, sum.accepted.lsn);
  spm_report_phase(s, SPM_RECOVERY_UNDO);
  if (rc == SQLITE_OK) rc = spm_log_harden(s, state->tail, &sum);
  if (rc == SQLITE_OK) spm_pending_durable(s, sum.accepted.lsn);
  if (rc == SQLITE_OK) rc = spm_pending_flush(s); /* X is what is published: the rest builds on it */
  if (rc == SQLITE_OK && sum.accepted.lsn > state->tail.lsn)
    rc = finish_commit(s, &sum);
  else if (rc == SQLITE_OK)
    spm_unmark(s);
  spm_report_phase(s, SPM_RECOVERY_REDO);
  if (rc == SQLITE_OK) spm_report_end(s, from_lsn, &sum);
  if (rc == SQLITE_OK) atomic_store(&shm->excluding, 0);
  if (rc == SQLITE_OK) rc = rebuild_segments(s, spm_committed_lsn(shm));
  if (rc == SQLITE_OK && !spm_poisoned(s)) rc = spm_checkpoint_all(s);
  if (rc == SQLITE_OK && !spm_poisoned(s)) rc = spm_checkpoint_restart(s, false);
  if (rc == SQLITE_OK && !spm_poisoned(s)) rc = spm_checkpoint_trim(s, false);
  spm_report_phase(s, SPM_RECOVERY_CHECKPOINT);
  if (rc == SQLITE_OK && !spm_poisoned(s) && sum.prepared_super != NULL)
    rc = s->host->settled(s->path, sum.prepared_super);
  if (rc == SQLITE_OK)
    spm_notice("%s: took over from a dead writer at LSN %llu, %llu transactions finished, %llu dropped",
               s->path, (unsigned long long)spm_committed_lsn(shm),
               (unsigned long long)sum.committed, (unsigned long long)sum.unfinished);
  spm_log_summary_free(&sum);
  return rc;
}

int spm_takeover_lock(spm_conn *c, uint32_t owner, bool *taken) {
  spm_store *s = c->store;
  *taken = false;
  if (spm_writer_alive(&s->locks, s->shm, owner)) return SQLITE_OK;
  if (!spm_writer_inherit(s->shm, owner, c->slot)) return SQLITE_OK; /* somebody was faster */
  int rc = takeover(s);
  if (rc == SQLITE_OK) {
    *taken = true;
    return rc;
  }
  /* Leave the dead owner's name, so that the next one tries again. */
  (void)atomic_exchange(&s->shm->writer, owner);
  return rc;
}

int spm_takeover_if_dead(spm_conn *c) {
  spm_shm *shm = c->store->shm;
  uint32_t owner = atomic_load(&shm->writer);
  if (spm_writer_is(shm, c->slot)) return SQLITE_OK;
  bool taken;
  int rc = spm_takeover_lock(c, owner, &taken);
  if (rc != SQLITE_OK) return rc;
  if (!taken) return SQLITE_BUSY;
  spm_writer_release(shm, c->slot);
  return SQLITE_OK;
}
