/*
** commit.c - see commit.h.
*/
#include "commit.h"

#include "apply.h"
#include "checkpoint.h"
#include "counters.h"
#include "diff.h"
#include "growth.h"
#include "pending.h"
#include "snapshot.h"
#include "version.h"
#include "write.h"
#include "writeset.h"

#include <string.h>

/* --------------------------------------------------------------- stage -- */

/* A block at or above the committed end has no committed content to differ from,
** only what some longer database left there: it is logged whole (S9). */
static int stage_block(spm_conn *c, spm_dirty *d) {
  spm_store *s = c->store;
  uint64_t start = (uint64_t)d->block * SPM_BLOCK_SIZE;
  d->changed = false;
  if (start >= c->size) return SQLITE_OK;
  d->changed = true;
  if (d->bytes == NULL) return SQLITE_OK; /* spilled: in the log already */
  d->from = 0;
  d->to = SPM_BLOCK_SIZE;
  if (d->whole || start + SPM_BLOCK_SIZE > c->snapshot_size)
    return c->txn.bare ? SQLITE_OK : spm_txn_add(s, &c->txn, d->block, 0, SPM_BLOCK_SIZE, d->bytes);
  spm_diff diff;
  spm_diff_blocks(&diff, (const uint8_t *)spm_versions_current(s, d->block), d->bytes);
  d->changed = diff.count > 0;
  if (!d->changed) return SQLITE_OK;
  const spm_range *last = &diff.range[diff.count - 1];
  d->from = diff.range[0].offset;
  d->to = (uint16_t)(last->offset + last->length);
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && !c->txn.bare && i < diff.count; i++)
    rc = spm_txn_add(s, &c->txn, d->block, diff.range[i].offset, diff.range[i].length,
                     d->bytes + diff.range[i].offset);
  return rc;
}

static int stage_log(spm_conn *c) {
  int rc = SQLITE_OK;
  bool spilled = c->txn.tail.lsn != c->snapshot; /* even if all of it is back by now */
  c->txn.bare = spm_unlogged(c->store) && c->set.resident == c->set.count && !spilled;
  for (uint32_t i = 0; rc == SQLITE_OK && i < c->set.count; i++) {
    rc = stage_block(c, &c->set.dirty[i]);
    c->txn.changed += c->set.dirty[i].changed;
  }
  return rc == SQLITE_OK ? spm_txn_reserve(c->store, &c->txn, c->txn.used) : rc;
}

static bool is_large(const spm_conn *c) { return c->txn.changed > SPM_SMALL_COMMIT; }

/* A small commit always has room for its images, whoever may register before it
** marks; and so has a prepared one, which must not fail any more.  Another large one
** reserves if anybody else is attached; whoever attaches after that meets
** commit_large(). */
static int reserve_images(spm_conn *c, bool prepare) {
  if (is_large(c) && !prepare && spm_snapshot_alone(c->store, c->slot)) return SQLITE_OK;
  bool later = !is_large(c) && !prepare && !c->store->log.media->persistent;
  return spm_versions_reserve(c->store, later ? 2 * c->txn.changed : c->txn.changed); /* for what is pending */
}

/* Durably: the log ends before this record. */
static int erase_head(spm_store *s, uint64_t offset) {
  static const uint8_t nothing[sizeof(spm_record)];
  int rc = spm_append(&s->log, offset, nothing, sizeof nothing);
  return rc == SQLITE_OK ? spm_sync(&s->log) : rc;
}

/* The record may be on media or not: only recovery can tell.  Overwrite its head,
** so that the commit that was refused here cannot come back to life, and promise
** nothing any more (S8). */
static void repudiate(spm_conn *c, uint64_t offset) {
  spm_poison(c->store);
  (void)erase_head(c->store, offset);
}

/* Durable on return.  If that fails the record may stand all the same. */
static int prepare(spm_conn *c, const char *super) {
  spm_store *s = c->store;
  int rc = spm_txn_prepare(s, &c->txn, super, c->size);
  if (rc != SQLITE_OK) return rc;
  rc = spm_sync(&s->log);
  if (rc == SQLITE_OK)
    c->stage = SPM_PREPARED;
  else
    repudiate(c, c->txn.prepared_at);
  return rc;
}

/* Cut by a foreign hand, X would be made long again by the next pwrite, with zeros where
** pages were.  One system call among those of a commit on FILE; on persistent memory
** there would be no other, and the next access is a SIGBUS anyway. */
static int check_length(spm_store *s) {
  if (s->data.media->persistent) return SQLITE_OK;
  int rc = spm_region_refresh(&s->data);
  if (rc != SQLITE_OK || atomic_load(&s->data.allocated) >= s->shm->held_size) return rc;
  spm_poison(s);
  return spm_error(SQLITE_CORRUPT, "%s was shortened while it was open", s->path);
}

int spm_commit_stage(spm_conn *c, const char *super) {
  if (!c->modified || c->stage >= SPM_PREPARED) return SQLITE_OK;
  spm_write_unstage(c);
  if (super != NULL && spm_unlogged(c->store))
    return spm_error(SQLITE_ERROR, "%s: with wal=off it has no part in a commit over several files", c->store->path);
  int rc = spm_write_check_capacity(c);
  if (rc != SQLITE_OK) return rc; /* not for lack of room that a checkpoint could make */
  rc = spm_write_check_log(c);
  if (rc == SQLITE_OK) rc = check_length(c->store);
  if (rc == SQLITE_OK) rc = spm_data_grow(c->store, c->size);
  if (rc == SQLITE_OK && super != NULL) rc = spm_pending_flush(c->store); /* nothing may fail afterwards */
  if (rc == SQLITE_OK) rc = stage_log(c);
  c->stage = SPM_STAGED;
  if (rc == SQLITE_OK) rc = reserve_images(c, super != NULL);
  if (rc == SQLITE_OK && super != NULL) rc = prepare(c, super);
  if (rc == SQLITE_FULL) c->txn.starved = true;
  if (rc != SQLITE_OK) spm_write_unstage(c);
  return rc;
}

/* -------------------------------------------------------------- finish -- */

static int save_images(spm_conn *c, uint64_t until, uint64_t newest) {
  spm_store *s = c->store;
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < c->set.count; i++) {
    const spm_dirty *d = &c->set.dirty[i];
    if (d->changed && (uint64_t)d->block * SPM_BLOCK_SIZE < s->shm->covered_size)
      rc = spm_versions_save(s, d->block, until, newest);
  }
  if (rc != SQLITE_OK) return rc;
  if (atomic_load(&s->shm->images_pending) == 0) s->shm->saved_lsn = until;
  atomic_thread_fence(memory_order_release); /* before the plain stores to the blocks (S12) */
  return SQLITE_OK;
}

/* A truncate between staging and here may have made blocks unchanged; they are
** counted all the same.  Blocks cut off still need images: they stand until the
** database grows again, and covered_size remembers that they may be needed. */
static int commit_large(spm_conn *c, uint64_t until) {
  spm_store *s = c->store;
  uint64_t oldest, newest;
  spm_mark(s, SPM_PHASE_SMALL); /* whoever registers from now on waits */
  c->marked = true;
  spm_snapshot_scan(s, c->slot, &oldest, &newest);
  if (newest == 0) {
    s->shm->saved_lsn = until;
    return SQLITE_OK;
  }
  int rc = spm_versions_reserve(s, c->txn.changed);
  if (rc != SQLITE_OK) return rc;
  /* Under COVERED others may still register, for the committed LSN: their images too. */
  rc = save_images(c, until, spm_committed_lsn(s->shm));
  if (rc != SQLITE_OK) return rc;
  spm_mark(s, SPM_PHASE_COVERED); /* every image is there: the LSN before is safe */
  return SQLITE_OK;
}

static int commit_small(spm_conn *c, uint64_t until, uint64_t *newest) {
  uint64_t oldest;
  spm_mark(c->store, SPM_PHASE_SMALL);
  c->marked = true;
  spm_snapshot_scan(c->store, c->slot, &oldest, newest);
  if (*newest != 0) return save_images(c, until, *newest);
  c->store->shm->saved_lsn = until;
  return SQLITE_OK;
}

static int append_commit(spm_conn *c) {
  spm_store *s = c->store;
  uint64_t offset = c->txn.durable_at = c->txn.tail.offset;
  int rc = c->stage == SPM_PREPARED ? spm_txn_settle(s, &c->txn, true, c->size)
                                    : spm_txn_commit(s, &c->txn, c->size);
  if (rc == SQLITE_OK && !c->later) rc = spm_sync(&s->log);
  if (rc != SQLITE_OK) repudiate(c, offset);
  return rc;
}

/* In place of applying: X must not change before the log is durable (S5). */
static int pend(spm_conn *c, uint64_t since) {
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < c->set.count; i++) {
    const spm_dirty *d = &c->set.dirty[i];
    if (d->changed && (uint64_t)d->block * SPM_BLOCK_SIZE < c->size)
      rc = spm_versions_pend(c->store, d->block, since, d->bytes);
  }
  return rc;
}

/* From the write set: one store a block, which on FILE is one system call. */
static int apply_set(spm_conn *c) {
  spm_store *s = c->store;
  int rc = SQLITE_OK;
  for (uint32_t i = 0; rc == SQLITE_OK && i < c->set.count; i++) {
    const spm_dirty *d = &c->set.dirty[i];
    uint64_t start = (uint64_t)d->block * SPM_BLOCK_SIZE;
    if (!d->changed || start >= c->size) continue;
    rc = spm_store_bytes(&s->data, start + d->from, d->bytes + d->from, (size_t)(d->to - d->from));
    s->shm->counters.file_bytes += (uint64_t)(d->to - d->from);
  }
  return rc;
}

static int apply(spm_conn *c, spm_log_pos from) {
  bool resident = c->set.resident == c->set.count;
  return resident ? apply_set(c) : spm_apply_range(c->store, from, c->txn.tail.lsn, c->txn.txid, c->size);
}

/* No checkpoint will find these blocks in the log.  FILE has its sync when it is left. */
static int apply_unlogged(spm_conn *c, spm_log_pos from) {
  spm_store *s = c->store;
  int rc = apply(c, from);
  if (rc != SQLITE_OK || !s->data.media->persistent) return rc;
  for (uint32_t i = 0; i < c->set.count; i++) {
    const spm_dirty *d = &c->set.dirty[i];
    if (d->changed && (uint64_t)d->block * SPM_BLOCK_SIZE < c->size)
      spm_flush(&s->data, (uint64_t)d->block * SPM_BLOCK_SIZE, SPM_BLOCK_SIZE);
  }
  return spm_sync(&s->data);
}

static void forget(spm_conn *c) {
  spm_writeset_clear(&c->set);
  c->modified = c->unsynced = c->at_once = false;
  c->stage = SPM_UNSTAGED;
}

/* Images freed a commit: more than it makes, so a backlog melts. */
#define RECLAIM_MAX (4 * SPM_SMALL_COMMIT)
/* Images that are worth sweeping, and buckets swept a commit: the whole table in about
** a thousand commits. */
#define SWEEP_MIN 1024u
#define SWEEP_BUCKETS 16u
/* LSNs between two looks for dead attachments, while there seem to be others. */
#define REAP_INTERVAL 256u

/* The database shrank: its space goes back once REDO begins behind it. */
static int give_back(spm_conn *c, bool alone) {
  spm_store *s = c->store;
  int rc = spm_checkpoint_all(s);
  return rc == SQLITE_OK ? spm_data_release(s, c->size, alone) : rc;
}

static void sweep(spm_conn *c) {
  uint64_t snapshots[SPM_SLOT_COUNT];
  uint32_t count;
  if (spm_snapshot_list(c->store, c->slot, snapshots, &count))
    spm_versions_sweep(c->store, snapshots, count, SWEEP_BUCKETS + c->txn.changed);
}

/* Housekeeping of the writer.  The commit stands whatever happens here: a failure
** has poisoned the store, or will come again at the next commit. */
static void tidy(spm_conn *c, uint64_t before) {
  spm_store *s = c->store;
  spm_shm *shm = s->shm;
  uint64_t oldest, newest;
  bool alone = spm_snapshot_alone(s, c->slot);
  if (!alone && c->snapshot / REAP_INTERVAL != before / REAP_INTERVAL) spm_snapshot_reap(s);
  if (atomic_load(&shm->images_live) > 0) {
    spm_snapshot_scan(s, c->slot, &oldest, &newest);
    spm_versions_reclaim(s, oldest, RECLAIM_MAX);
    if (atomic_load(&shm->images_live) >= SWEEP_MIN) sweep(c);
  }
  if (shm->covered_size > c->size) {
    spm_snapshot_scan(s, c->slot, &oldest, &newest);
    if (newest == 0) shm->covered_size = c->size;
  }
  /* The next one will not be in the log: a REDO of this one would undo it. */
  bool logged = spm_unlogged(s) && !c->txn.bare;
  int rc = logged ? spm_checkpoint_all(s) : spm_checkpoint_step(s, alone);
  if (rc == SQLITE_OK && shm->covered_size == c->size && spm_data_slack(s, c->size)) rc = give_back(c, alone);
  if (rc != SQLITE_OK)
    spm_notice("%s: housekeeping after a commit failed: %s", s->path, spm_last_error());
}

/* What earlier commits had left of the same blocks.  A failure has poisoned the store. */
static void replace_pending(spm_conn *c, uint64_t since, uint64_t newest) {
  if (spm_versions_replace(c->store, since, newest) == SQLITE_OK) spm_pending_ask(c);
}

/* The transaction is committed, but only the log says so: until recovery has read it there,
** nobody may read the state before, this connection in its snapshot included. */
static void bar_readers(spm_conn *c) {
  spm_poison(c->store);
  spm_mark(c->store, SPM_PHASE_SMALL);
  c->marked = false; /* for good: no rollback may take it back */
  c->unreadable = true;
}

void spm_commit_unsynced(spm_conn *c, bool unsynced) { c->unsynced = unsynced; }
void spm_commit_at_once(spm_conn *c) { c->at_once = true; }

int spm_commit_harden(spm_conn *c) {
  if (!c->modified || c->stage == SPM_DURABLE) return SQLITE_OK;
  spm_store *s = c->store;
  int rc = c->stage == SPM_UNSTAGED ? spm_commit_stage(c, NULL) : SQLITE_OK;
  c->began_ns = spm_count_begin(s);
  s->shm->saved_lsn = 0; /* an LSN that was rolled back is used again */
  if (rc == SQLITE_OK && spm_poisoned(s))
    rc = spm_error(SQLITE_IOERR, "%s: an earlier flush failed", s->path);
  c->later = rc == SQLITE_OK && (spm_unlogged(s) || spm_pending_allowed(c));
  if (rc == SQLITE_OK && !c->later) rc = spm_pending_flush(s);
  if (rc == SQLITE_OK && is_large(c)) rc = commit_large(c, c->txn.tail.lsn + 1);
  if (rc == SQLITE_OK) rc = append_commit(c);
  if (rc != SQLITE_OK) {
    /* A prepared transaction is decided by its super-journal, which is gone by now:
    ** recovery will commit it.  Until then nobody may go on without it (S20). */
    if (c->stage == SPM_PREPARED) bar_readers(c);
    (void)spm_commit_rollback(c);
    return rc == SQLITE_FULL ? rc : (rc & 0xff) == SQLITE_IOERR ? rc : SQLITE_IOERR;
  }
  c->stage = SPM_DURABLE;
  return SQLITE_OK;
}

int spm_commit_finish(spm_conn *c) {
  if (!c->modified) return SQLITE_OK;
  spm_store *s = c->store;
  int rc = spm_commit_harden(c);
  if (rc != SQLITE_OK) return rc;
  /* Durable, or as good as asked for: from here on the transaction is committed, come what may. */
  uint64_t until = c->txn.tail.lsn, newest = 0;
  if (!is_large(c)) rc = commit_small(c, until, &newest);
  spm_log_pos from = spm_committed(s->shm)->tail;
  bool unlogged = spm_unlogged(s);
  if (rc == SQLITE_OK) rc = unlogged ? apply_unlogged(c, from) : c->later ? pend(c, until) : apply(c, from);
  if (rc != SQLITE_OK) {
    /* X could not be written: readers must not see half of it, nor, under COVERED, the
    ** state before.  The word stays marked, and recovery will REDO from the log: so it is
    ** committed, and whoever were told that it failed would see it come back to life (S8). */
    bar_readers(c);
    forget(c);
    return SQLITE_OK;
  }
  spm_publish(s, c->txn.tail, c->size, c->txn.txid + 1);
  c->marked = false;
  if (!c->later)
    spm_pending_durable(s, until);
  else if (!unlogged)
    replace_pending(c, until, newest);
  uint64_t before = c->snapshot;
  spm_snapshot_advance(c, c->txn.tail.lsn, c->size);
  spm_count_commit(s, c->txn.changed, c->began_ns);
  forget(c);
  c->txn.segment_count = 0; /* they belong to the log now */
  tidy(c, before);
  return spm_txn_begin(s, &c->txn);
}

/* Segments a rolled back transaction had taken that make it worth a look at the log's
** size. */
#define TRIM_MIN 4u

/* On a full disk the segments that are there must do: free those whose records X no
** longer needs, or not even a DELETE would find room. */
static void make_room(spm_conn *c) {
  spm_store *s = c->store;
  if (!c->txn.starved || spm_poisoned(s)) return;
  c->txn.starved = false;
  int rc = spm_checkpoint_all(s);
  if (rc == SQLITE_OK) rc = spm_checkpoint_restart(s, false);
  if (rc != SQLITE_OK) spm_notice("%s: no room could be made: %s", s->path, spm_last_error());
}

/* What was spilled stands behind the committed end, record by record, and leads through
** the segments that are to go: recovery would follow it, and take the log for truncated.
** On a poisoned store it may be a prepared transaction that only recovery can settle, or a
** commit that could not be applied: it stays. */
static int trim_log(spm_conn *c) {
  spm_store *s = c->store;
  if (spm_poisoned(s)) return SQLITE_OK;
  int rc = erase_head(s, spm_committed(s->shm)->tail.offset);
  return rc == SQLITE_OK ? spm_checkpoint_trim(s, spm_snapshot_alone(s, c->slot)) : rc;
}

/* Nobody has been told of the commit, and nobody must be by a recovery. */
static int take_back(spm_conn *c) {
  int rc = erase_head(c->store, c->txn.durable_at);
  if (rc != SQLITE_OK) spm_poison(c->store);
  return rc;
}

int spm_commit_rollback(spm_conn *c) {
  if (!c->modified) return SQLITE_OK;
  spm_store *s = c->store;
  int rc = c->stage == SPM_DURABLE ? take_back(c) : SQLITE_OK;
  s->shm->counters.aborted++;
  if (c->marked) { /* X is untouched */
    spm_versions_take_back(s, spm_committed_lsn(s->shm));
    spm_unmark(s);
  }
  c->marked = false;
  if (c->stage == SPM_PREPARED && !spm_poisoned(s)) {
    /* The ABORT record must stand before anything says that the transaction is
    ** not prepared any more (S20); it becomes part of the log. */
    rc = spm_txn_settle(s, &c->txn, false, c->snapshot_size);
    if (rc == SQLITE_OK) rc = spm_sync(&s->log);
    if (rc == SQLITE_OK) {
      spm_publish(s, c->txn.tail, c->snapshot_size, c->txn.txid + 1);
      spm_pending_durable(s, c->txn.tail.lsn);
      spm_snapshot_advance(c, c->txn.tail.lsn, c->snapshot_size);
      c->txn.segment_count = 0;
    } else {
      spm_poison(s);
    }
  } else {
    uint32_t taken = c->txn.segment_count;
    spm_txn_rollback(s, &c->txn);
    if (taken > TRIM_MIN && trim_log(c) != SQLITE_OK)
      spm_notice("%s: the log keeps its size: %s", s->path, spm_last_error());
    make_room(c);
  }
  forget(c);
  c->size = c->snapshot_size;
  int begun = spm_txn_begin(s, &c->txn);
  return rc != SQLITE_OK ? rc : begun;
}
