/*
** writer.c - see writer.h.
*/
#include "writer.h"

#include "commit.h"
#include "log.h"
#include "snapshot.h"
#include "takeover.h"

#define SPIN_MAX 200u
#define WRITER_WAITS 2u /* of a millisecond each, then SQLITE_BUSY (S16) */
#define POINTERS_WAIT_US 2000u

static bool overtaken(const spm_conn *c) { return spm_committed_lsn(c->store->shm) != c->snapshot; }

static int refuse_overtaken(spm_conn *c) {
  atomic_fetch_add_explicit(&c->store->shm->counters.conflicts, 1, memory_order_relaxed);
  return SQLITE_BUSY_SNAPSHOT;
}

/* `latest`: whatever is committed when the lock is had will do.  SQLITE_BUSY: `owner`, dead
** or alive, keeps it. */
static int await_lock(spm_conn *c, bool latest, uint32_t *owner) {
  spm_shm *shm = c->store->shm;
  unsigned waits = 0;
  for (uint32_t spin = 0;; spin++) {
    if (!latest && overtaken(c)) return refuse_overtaken(c); /* without waiting: it will not improve */
    if (spm_writer_try(shm, c->slot, waits > 0, owner)) return SQLITE_OK;
    if (spin < SPIN_MAX) {
      spm_cpu_relax();
      continue;
    }
    if (waits++ == WRITER_WAITS) return SQLITE_BUSY;
    spm_writer_wait(shm, *owner);
  }
}

static int acquire(spm_conn *c, bool latest) {
  uint32_t owner = 0;
  bool taken;
  int rc = await_lock(c, latest, &owner);
  if (rc != SQLITE_BUSY) return rc;
  rc = spm_takeover_lock(c, owner, &taken);
  return rc == SQLITE_OK && !taken ? SQLITE_BUSY : rc;
}

int spm_lock_acquire(spm_conn *c) { return acquire(c, true); }
int spm_lock_acquire_living(spm_conn *c) {
  uint32_t owner = 0;
  return await_lock(c, true, &owner);
}
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
