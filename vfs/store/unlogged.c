/*
** unlogged.c - see unlogged.h.
*/
#include "unlogged.h"

#include "checkpoint.h"
#include "snapshot.h"
#include "writer.h"

#define GATE_PATIENCE_MS 5000u

/* W: X is durable, and the superblock says what it is from now on. */
static int turn(spm_store *s, uint32_t unlogged) {
  int rc = spm_checkpoint_all(s);
  if (rc != SQLITE_OK) return rc;
  atomic_store(&s->shm->unlogged, unlogged);
  return spm_checkpoint_restart(s, false); /* a failure poisons */
}

static int lock_and_turn(spm_conn *c, uint32_t unlogged) {
  spm_store *s = c->store;
  int rc = spm_lock_acquire(c);
  if (rc == SQLITE_BUSY)
    return spm_error(rc, "%s: a transaction is under way, and wal cannot change before its end", s->path);
  if (rc != SQLITE_OK) return rc;
  rc = turn(s, unlogged);
  spm_lock_release(c);
  return rc;
}

int spm_unlogged_enter(spm_conn *c) {
  spm_store *s = c->store;
  int rc = spm_gate_enter(&s->locks, GATE_PATIENCE_MS);
  if (rc == SQLITE_BUSY) return spm_error(rc, "%s: another connection is coming or going", s->path);
  if (rc != SQLITE_OK) return rc;
  spm_snapshot_reap(s);
  rc = spm_snapshot_alone(s, c->slot)
           ? lock_and_turn(c, SPM_UNLOGGED)
           : spm_error(SQLITE_BUSY, "%s: wal=off is for the only connection, and there are others", s->path);
  spm_gate_leave(&s->locks);
  return rc;
}

int spm_unlogged_leave(spm_conn *c) { return lock_and_turn(c, SPM_LOGGED); }

int spm_unlogged_accept(spm_conn *c) {
  return atomic_load(&c->store->shm->unlogged) == SPM_UNVERIFIED ? lock_and_turn(c, SPM_LOGGED) : SQLITE_OK;
}
