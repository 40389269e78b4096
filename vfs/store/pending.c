/*
** pending.c - see pending.h.
*/
#include "pending.h"

#include "apply.h"
#include "counters.h"
#include "version.h"

/* Images that may wait (16 MiB), and those that go to X under one hold of the lock. */
#define PENDING_MAX 4096u
#define BATCH 64u

#define SOON_NS UINT64_C(100000000)

/* ---- deadlines ---- */

/* When the flush of a commit of now is due: soon, or at the next tick of its interval. */
static uint64_t due_at(const spm_conn *c, uint64_t now) {
  uint64_t interval = c->flush_interval_ns, due;
  if (c->durability == SPM_DURABLE_AT_TICKS)
    due = (now / interval + 1) * interval;
  else
    due = now + (interval / 2 < SOON_NS ? interval / 2 : SOON_NS);
  return due & ~SPM_DUE_BITS;
}

/* Half an interval after a flush was due, the flusher is stopped or gone, or its disk is
** slow: nothing more is acknowledged on its word. */
static bool overdue(const spm_conn *c) {
  uint64_t due = atomic_load(&c->store->shm->flush_due);
  return due != 0 && spm_clock_ns() >= due + c->flush_interval_ns / 2;
}

void spm_pending_ask(spm_conn *c) {
  if (c->durability == SPM_DURABLE_AT_ONCE) return; /* synchronous=OFF asks for nothing */
  spm_shm *shm = c->store->shm;
  uint64_t due = due_at(c, spm_clock_ns()), present = atomic_load(&shm->flush_due), next;
  do {
    bool earlier = present == 0 || due < (present & ~SPM_DUE_BITS);
    next = (earlier ? due : present) | SPM_DUE_RELIED_ON;
  } while (next != present && !atomic_compare_exchange_weak(&shm->flush_due, &present, next));
  if (next & SPM_DUE_TOLD) return;
  spm_futex_wake_all(&shm->flush_asked);
  (void)atomic_compare_exchange_strong(&shm->flush_due, &next, next | SPM_DUE_TOLD);
}

/* ---- commits ---- */

/* All of it in memory, for the images; small, so that there is room for them; and nobody
** else's word depends on it. */
static bool suitable(const spm_conn *c) {
  return c->stage == SPM_STAGED && c->txn.changed <= SPM_SMALL_COMMIT && c->set.resident == c->set.count &&
         !c->pointing && c->store->shm->image_free_count >= 2 * c->txn.changed;
}

bool spm_pending_allowed(const spm_conn *c) {
  const spm_store *s = c->store;
  bool asked = c->durability != SPM_DURABLE_AT_ONCE || c->unsynced;
  if (!asked || c->at_once || s->log.media->persistent || !suitable(c)) return false;
  if (atomic_load(&s->shm->images_pending) + c->txn.changed > PENDING_MAX) return false;
  return c->durability == SPM_DURABLE_AT_ONCE || !overdue(c);
}

/* ---- flushes ---- */

void spm_pending_durable(spm_store *s, uint64_t lsn) {
  uint64_t present = atomic_load(&s->shm->durable_lsn);
  while (present < lsn && !atomic_compare_exchange_weak(&s->shm->durable_lsn, &present, lsn)) continue;
}

bool spm_pending_any(const spm_store *s) {
  return atomic_load(&s->shm->durable_lsn) < spm_committed_lsn(s->shm) || atomic_load(&s->shm->images_pending) > 0;
}

/* The records up to the LSN were written before it was published.  The deadline is the
** flushers': who dies in here leaves it as it is. */
int spm_pending_sync(spm_store *s) {
  spm_shm *shm = s->shm;
  uint64_t lsn = spm_committed_lsn(shm);
  if (atomic_load(&shm->durable_lsn) >= lsn) return SQLITE_OK;
  int rc = spm_sync(&s->log);
  if (rc == SQLITE_OK)
    spm_pending_durable(s, lsn);
  else
    spm_poison(s); /* what the kernel could not write it may now take for written (S8) */
  return rc;
}

int spm_pending_apply(spm_store *s, bool *more) {
  uint32_t applied;
  *more = false;
  if (atomic_load(&s->shm->images_pending) == 0) return SQLITE_OK;
  int rc = spm_versions_apply(s, atomic_load(&s->shm->durable_lsn), BATCH, &applied);
  if (rc != SQLITE_OK) spm_poison(s); /* the rest stays pending, and readers find it there */
  *more = rc == SQLITE_OK && applied == BATCH;
  return rc;
}

int spm_pending_flush(spm_store *s) {
  if (!spm_pending_any(s)) return SQLITE_OK;
  bool more = true;
  int rc = spm_pending_sync(s);
  while (rc == SQLITE_OK && more) rc = spm_pending_apply(s, &more);
  return rc;
}
