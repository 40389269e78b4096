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
#include "takeover.h"
#include "version.h"
#include "writeset.h"

#include <string.h>

#define SPIN_MAX 200u
#define WRITER_WAITS 2u /* of a millisecond each, then SQLITE_BUSY (S16) */
#define POINTERS_WAIT_US 2000u

/* ------------------------------------------------------------ the lock -- */

static bool overtaken(const spm_conn *c) { return spm_committed_lsn(c->store->shm) != c->snapshot; }

static int refuse_overtaken(spm_conn *c) {
  atomic_fetch_add_explicit(&c->store->shm->counters.conflicts, 1, memory_order_relaxed);
  return SQLITE_BUSY_SNAPSHOT;
}

/* `latest`: whatever is committed when the lock is had will do. */
static int acquire(spm_conn *c, bool latest) {
  spm_shm *shm = c->store->shm;
  uint32_t owner = 0;
  unsigned waits = 0;
  for (uint32_t spin = 0;; spin++) {
    if (!latest && overtaken(c)) return refuse_overtaken(c); /* without waiting: it will not improve */
    if (spm_writer_try(shm, c->slot, waits > 0, &owner)) return SQLITE_OK;
    if (spin < SPIN_MAX) {
      spm_cpu_relax();
      continue;
    }
    if (waits++ == WRITER_WAITS) break;
    spm_writer_wait(shm, owner);
  }
  bool taken;
  int rc = spm_takeover_lock(c, owner, &taken);
  return rc == SQLITE_OK && !taken ? SQLITE_BUSY : rc;
}

int spm_lock_acquire(spm_conn *c) { return acquire(c, true); }
void spm_lock_release(spm_conn *c) { spm_writer_release(c->store->shm, c->slot); }

/* A snapshot that reads in place was alone when it began; it will not begin another
** one like it while this attachment exists (S14). */
static int await_pointers(spm_conn *c) {
  uint64_t deadline = 0;
  while (spm_snapshot_points(c->store, c->slot)) {
    uint64_t now = spm_now_us();
    if (deadline == 0) {
      deadline = now + POINTERS_WAIT_US;
      spm_snapshot_reap(c->store);
    }
    if (now >= deadline) return SQLITE_BUSY;
    spm_cpu_relax();
  }
  return SQLITE_OK;
}

/* The lock is held. */
static int begin_writing(spm_conn *c) {
  spm_store *s = c->store;
  int rc;
  c->writing = true;
  c->modified = false;
  c->stage = SPM_UNSTAGED;
  if (overtaken(c))
    rc = refuse_overtaken(c);
  else if (spm_poisoned(s))
    rc = spm_error(SQLITE_IOERR, "%s: an earlier flush failed; close it everywhere to recover it from media",
                   s->path);
  else
    rc = await_pointers(c);
  if (rc == SQLITE_OK) rc = spm_txn_begin(s, &c->txn);
  c->size = c->snapshot_size;
  if (rc != SQLITE_OK) {
    spm_writer_release(s->shm, c->slot);
    c->writing = false;
  }
  return rc;
}

int spm_write_begin(spm_conn *c) {
  if (c->writing) return SQLITE_OK;
  int rc = acquire(c, false);
  return rc == SQLITE_OK ? begin_writing(c) : rc;
}

int spm_write_begin_latest(spm_conn *c) {
  int rc = acquire(c, true);
  if (rc != SQLITE_OK) return rc;
  rc = spm_snapshot_begin(c);
  if (rc != SQLITE_OK) {
    spm_writer_release(c->store->shm, c->slot);
    return rc;
  }
  rc = begin_writing(c);
  if (rc != SQLITE_OK) spm_snapshot_end(c);
  return rc;
}

/* Under the writer lock: so every later writer finds the mark, and there is no present one. */
int spm_snapshot_hold(spm_conn *c) {
  spm_shm *shm = c->store->shm;
  int rc = acquire(c, true);
  if (rc != SQLITE_OK) return rc;
  rc = spm_snapshot_begin(c);
  if (rc == SQLITE_OK) {
    atomic_store(&shm->slots[c->slot].holding, 1);
    c->holding = true;
  }
  spm_writer_release(shm, c->slot);
  return rc;
}

int spm_write_permitted(spm_conn *c) {
  if (!spm_snapshot_held(c->store, c->slot)) return SQLITE_OK;
  spm_snapshot_reap(c->store); /* the dead hold nothing */
  return spm_snapshot_held(c->store, c->slot) ? SQLITE_BUSY : SQLITE_OK;
}

void spm_write_exclude(spm_conn *c) {
  atomic_store(&c->store->shm->excluding, spm_owner_word(c->store->shm, c->slot));
}

int spm_write_end(spm_conn *c) {
  if (!c->writing) return SQLITE_OK;
  int rc = spm_commit_rollback(c);
  c->writing = false;
  atomic_store_explicit(&c->store->shm->excluding, 0, memory_order_relaxed);
  spm_writer_release(c->store->shm, c->slot);
  return rc;
}

/* ------------------------------------------------------- the write set -- */

/* The content of a block before this write: from the log, from X, or zeros. */
static int load_block(spm_conn *c, const spm_dirty *d, uint8_t *to) {
  spm_store *s = c->store;
  if (d->spilled_to != 0) return spm_region_read(&s->log, d->spilled_to, to, SPM_BLOCK_SIZE);
  uint64_t start = (uint64_t)d->block * SPM_BLOCK_SIZE;
  uint64_t valid = start >= c->snapshot_size ? 0 : c->snapshot_size - start;
  if (valid > SPM_BLOCK_SIZE) valid = SPM_BLOCK_SIZE;
  memcpy(to, spm_versions_current(s, d->block), valid);
  memset(to + valid, 0, SPM_BLOCK_SIZE - valid);
  return SQLITE_OK;
}

/* A commit that is durable but not in X stands behind the committed end of the log, where
** the next transaction's records would go: none may before recovery (S8). */
static int check_log(const spm_conn *c) {
  if (!c->unreadable) return SQLITE_OK;
  return spm_error(SQLITE_IOERR_WRITE, "%s: an earlier write failed; close it everywhere to recover it", c->store->path);
}

/* A store that is larger than it may be can be changed, and shrink, but not grow. */
static int check_capacity(const spm_conn *c) {
  uint64_t size_max = atomic_load_explicit(&c->store->size_max, memory_order_relaxed);
  if (size_max == 0 || c->size <= size_max || c->size <= c->snapshot_size) return SQLITE_OK;
  return spm_error(SQLITE_FULL, "%s: %llu bytes pass the %llu that its option size allows", c->store->path,
                   (unsigned long long)c->size, (unsigned long long)size_max);
}

/* Move everything resident to the log: uncommitted records, read back at need. */
static int spill(spm_conn *c) {
  spm_store *s = c->store;
  int rc = check_log(c);
  if (rc == SQLITE_OK) rc = check_capacity(c);
  for (uint32_t i = 0; rc == SQLITE_OK && i < c->set.count; i++) {
    spm_dirty *d = &c->set.dirty[i];
    if (d->bytes == NULL) continue;
    rc = spm_txn_spill(s, &c->txn, d->block, d->bytes, &d->spilled_to);
    if (rc != SQLITE_OK) break;
    d->whole = true; /* a later difference would not be against this version */
    spm_writeset_evict(&c->set, d);
  }
  if (rc == SQLITE_OK) rc = spm_txn_flush(s, &c->txn);
  c->txn.unstaged = c->txn.tail;
  c->txn.unstaged_segments = c->txn.segment_count;
  return rc;
}

static int write_block(spm_conn *c, uint32_t block, uint32_t offset, uint32_t n, const void *bytes) {
  bool fresh;
  spm_dirty *d = spm_writeset_put(&c->set, block, &fresh);
  if (d == NULL) return SQLITE_IOERR_NOMEM;
  if (fresh && n < SPM_BLOCK_SIZE) {
    int rc = load_block(c, d, d->bytes);
    if (rc != SQLITE_OK) return rc;
  }
  memcpy(d->bytes + offset, bytes, n);
  return SQLITE_OK;
}

static void unstage(spm_conn *c) {
  if (c->stage != SPM_STAGED) return;
  spm_txn_unstage(c->store, &c->txn);
  c->stage = SPM_UNSTAGED;
}

static int write_range(spm_conn *c, uint64_t offset, uint32_t n, const char *bytes) {
  while (n > 0) {
    uint32_t in_block = (uint32_t)(offset % SPM_BLOCK_SIZE);
    uint32_t part = SPM_BLOCK_SIZE - in_block < n ? SPM_BLOCK_SIZE - in_block : n;
    int rc = write_block(c, (uint32_t)(offset / SPM_BLOCK_SIZE), in_block, part, bytes);
    if (rc == SQLITE_OK && c->set.resident > c->store->resident_max) rc = spill(c);
    if (rc != SQLITE_OK) return rc;
    offset += part;
    bytes += part;
    n -= part;
  }
  return SQLITE_OK;
}

/* What lies between the old end and a write behind it reads as zeros, whatever a
** larger database once left there. */
static int fill_gap(spm_conn *c, uint64_t to) {
  static const char zeros[SPM_BLOCK_SIZE];
  while (c->size < to) {
    uint64_t n = SPM_BLOCK_SIZE - c->size % SPM_BLOCK_SIZE;
    if (n > to - c->size) n = to - c->size;
    int rc = write_range(c, c->size, (uint32_t)n, zeros);
    if (rc != SQLITE_OK) return rc;
    c->size += n;
  }
  return SQLITE_OK;
}

int spm_write(spm_conn *c, uint64_t offset, uint32_t n, const void *bytes) {
  if (!c->writing || c->stage >= SPM_PREPARED)
    return spm_error(SQLITE_IOERR_WRITE, "%s: write outside a transaction", c->store->path);
  if ((offset + n - 1) / SPM_BLOCK_SIZE > UINT32_MAX)
    return spm_error(SQLITE_FULL, "%s: a database here ends at 16 TiB", c->store->path);
  unstage(c);
  c->modified = true;
  int rc = fill_gap(c, offset);
  if (rc == SQLITE_OK) rc = write_range(c, offset, n, bytes);
  if (rc == SQLITE_OK && offset + n > c->size) c->size = offset + n;
  return rc;
}

/* Cutting keeps a staged transaction staged: SQLite cuts between SYNC and the
** commit point, and apply skips what lies behind the end. */
int spm_write_truncate(spm_conn *c, uint64_t size) {
  if (!c->writing) return spm_error(SQLITE_IOERR_TRUNCATE, "%s: truncate outside a transaction", c->store->path);
  c->modified = true;
  if (size <= c->size) {
    c->size = size;
    return SQLITE_OK;
  }
  unstage(c);
  return fill_gap(c, size);
}

int spm_write_edit(spm_conn *c, uint32_t block, uint8_t **bytes) {
  uint64_t start = (uint64_t)block * SPM_BLOCK_SIZE;
  bool fresh, behind = start >= c->size;
  if (!c->writing || c->stage >= SPM_PREPARED)
    return spm_error(SQLITE_IOERR_WRITE, "%s: write outside a transaction", c->store->path);
  unstage(c);
  c->modified = true;
  int rc = behind ? fill_gap(c, start) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  spm_dirty *d = spm_writeset_put(&c->set, block, &fresh);
  if (d == NULL) return SQLITE_IOERR_NOMEM;
  if (behind) { /* also where an earlier write was cut off since */
    memset(d->bytes, 0, SPM_BLOCK_SIZE);
    c->size = start + SPM_BLOCK_SIZE;
  } else if (fresh) {
    rc = load_block(c, d, d->bytes);
  }
  *bytes = d->bytes;
  return rc;
}

int spm_write_settle(spm_conn *c) { return c->set.resident > c->store->resident_max ? spill(c) : SQLITE_OK; }

int spm_write_read(spm_conn *c, uint64_t offset, uint32_t n, void *to) {
  char *bytes = to;
  while (n > 0) {
    uint32_t in_block = (uint32_t)(offset % SPM_BLOCK_SIZE);
    uint32_t part = SPM_BLOCK_SIZE - in_block < n ? SPM_BLOCK_SIZE - in_block : n;
    const spm_dirty *d = spm_writeset_find(&c->set, (uint32_t)(offset / SPM_BLOCK_SIZE));
    if (d == NULL) {
      memcpy(bytes, spm_versions_current(c->store, (uint32_t)(offset / SPM_BLOCK_SIZE)) + in_block, part);
    } else if (d->bytes != NULL) {
      memcpy(bytes, d->bytes + in_block, part);
    } else {
      int rc = spm_region_read(&c->store->log, d->spilled_to + in_block, bytes, part);
      if (rc != SQLITE_OK) return rc;
    }
    offset += part;
    bytes += part;
    n -= part;
  }
  return SQLITE_OK;
}

bool spm_write_touches(const spm_conn *c, uint64_t offset, uint32_t n) {
  if (offset + n > c->size) return true;
  uint64_t last = (offset + n - 1) / SPM_BLOCK_SIZE;
  for (uint64_t block = offset / SPM_BLOCK_SIZE; block <= last; block++)
    if (spm_writeset_find(&c->set, (uint32_t)block) != NULL) return true;
  return false;
}

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
  c->txn.bare = spm_unlogged(c->store) && c->set.resident == c->set.count;
  for (uint32_t i = 0; rc == SQLITE_OK && i < c->set.count; i++) {
    rc = stage_block(c, &c->set.dirty[i]);
    c->txn.changed += c->set.dirty[i].changed;
  }
  return rc == SQLITE_OK ? spm_txn_reserve(c->store, &c->txn, c->txn.used) : rc;
}

/* A small commit always has room for its images, whoever may register before it
** marks; and so has a prepared one, which must not fail any more.  Another large one
** reserves if anybody else is attached; whoever attaches after that meets
** commit_large(). */
static int reserve_images(spm_conn *c, bool prepare) {
  bool large = c->txn.changed > SPM_SMALL_COMMIT;
  if (large && !prepare && spm_snapshot_alone(c->store, c->slot)) return SQLITE_OK;
  bool later = !large && !prepare && !c->store->log.media->persistent;
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
  unstage(c);
  if (super != NULL && spm_unlogged(c->store))
    return spm_error(SQLITE_ERROR, "%s: with wal=off it has no part in a commit over several files", c->store->path);
  int rc = check_capacity(c);
  if (rc != SQLITE_OK) return rc; /* not for lack of room that a checkpoint could make */
  rc = check_log(c);
  if (rc == SQLITE_OK) rc = check_length(c->store);
  if (rc == SQLITE_OK) rc = spm_data_grow(c->store, c->size);
  if (rc == SQLITE_OK && super != NULL) rc = spm_pending_flush(c->store); /* nothing may fail afterwards */
  if (rc == SQLITE_OK) rc = stage_log(c);
  c->stage = SPM_STAGED;
  if (rc == SQLITE_OK) rc = reserve_images(c, super != NULL);
  if (rc == SQLITE_OK && super != NULL) rc = prepare(c, super);
  if (rc == SQLITE_FULL) c->txn.starved = true;
  if (rc != SQLITE_OK) unstage(c);
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

static bool is_large(const spm_conn *c) { return c->txn.changed > SPM_SMALL_COMMIT; }

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
  int rc = spm_checkpoint_step(s, alone);
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
  if (c->marked) spm_unmark(s); /* X is untouched */
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
