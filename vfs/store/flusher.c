/*
** flusher.c - see flusher.h.
*/
#include "flusher.h"

#include "counters.h"
#include "pending.h"
#include "writer.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* After a flush that could not bring X up to date, for somebody kept the lock. */
#define RETRY_NS UINT64_C(50000000)
/* After a flush that left something, or whose process died; those who commit meanwhile set an
** earlier one if they need it. */
#define AGAIN_NS UINT64_C(100000000)

typedef struct spm_flusher {
  pthread_t thread;
  spm_conn *conn;
  atomic_bool stop;
} spm_flusher;

/* What is durable goes to X in batches, and the lock is given up between them.  A dead writer
** is no business of this thread: its host may have to open another store to decide what it
** had prepared, and who stops the thread has the registry's mutex.  Whoever takes over
** brings X up to date. */
static int apply_all(spm_conn *c) {
  int rc;
  bool more;
  do {
    rc = spm_lock_acquire_living(c);
    if (rc != SQLITE_OK) return rc;
    rc = spm_poisoned(c->store) ? SQLITE_IOERR : spm_pending_apply(c->store, &more);
    spm_lock_release(c);
  } while (rc == SQLITE_OK && more);
  return rc;
}

/* The deadline is put off before the LSN is looked up, for the case that this process dies;
** the other flushers know of it, for they wake up by the old one.  Afterwards it goes, unless
** somebody relies on it by then: who had done so before it was put off had committed
** before the LSN was looked up, and is durable. */
static int flush(spm_conn *c) {
  spm_shm *shm = c->store->shm;
  uint64_t now = spm_clock_ns(), due = atomic_load(&shm->flush_due);
  uint64_t later = ((now + AGAIN_NS) & ~SPM_DUE_BITS) | SPM_DUE_TOLD;
  if (due != 0 && due <= now) (void)atomic_compare_exchange_strong(&shm->flush_due, &due, later);
  int rc = spm_pending_sync(c->store);
  if (rc == SQLITE_OK) (void)atomic_compare_exchange_strong(&shm->flush_due, &later, 0);
  return rc == SQLITE_OK ? apply_all(c) : rc;
}

/* Nothing to do, for ever, is UINT64_MAX. */
static uint64_t next_flush(const spm_store *s, uint64_t retry) {
  uint64_t due = atomic_load(&s->shm->flush_due);
  if (spm_poisoned(s)) return UINT64_MAX;
  if (due == 0) due = UINT64_MAX;
  return due < retry ? due : retry;
}

static void *run(void *argument) {
  spm_flusher *f = argument;
  spm_store *s = f->conn->store;
  uint64_t retry = UINT64_MAX;
  for (;;) {
    /* Before the looks: who sets a deadline or stops this moves the word on afterwards. */
    uint32_t asked = atomic_load(&s->shm->flush_asked);
    if (atomic_load(&f->stop)) break;
    uint64_t now = spm_clock_ns(), due = next_flush(s, retry);
    if (due > now) {
      spm_futex_wait(&s->shm->flush_asked, asked, due == UINT64_MAX ? UINT64_MAX : due - now);
      continue;
    }
    retry = flush(f->conn) == SQLITE_OK ? UINT64_MAX : now + RETRY_NS;
  }
  /* Others may have the store open yet, and no flusher. */
  if (!spm_poisoned(s)) (void)flush(f->conn);
  return NULL;
}

/* The application's signal handlers are not to run here. */
static int start_thread(spm_flusher *f) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&f->thread, NULL, run, f);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0) return SQLITE_OK;
  return spm_error(SQLITE_IOERR, "%s: no thread for its flushes: %s", f->conn->store->path, strerror(error));
}

int spm_flusher_start(spm_store *s, spm_conn *c) {
  spm_flusher *f = calloc(1, sizeof *f);
  if (f == NULL) return SQLITE_NOMEM;
  f->conn = c;
  int rc = start_thread(f);
  if (rc == SQLITE_OK)
    s->flusher = f;
  else
    free(f);
  return rc;
}

spm_conn *spm_flusher_stop(spm_store *s) {
  spm_flusher *f = s->flusher;
  if (f == NULL) return NULL;
  s->flusher = NULL;
  atomic_store(&f->stop, true);
  spm_futex_wake_all(&s->shm->flush_asked);
  pthread_join(f->thread, NULL);
  spm_conn *c = f->conn;
  free(f);
  return c;
}
