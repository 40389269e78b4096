/*
** conn.c - what a connection is asked, and how it reads: in its snapshot, or what its
** transaction has written (store.h).
*/
#include "core.h"
#include "snapshot.h"
#include "store.h"
#include "version.h"
#include "write.h"
#include "writeset.h"

const uint8_t *spm_store_life(const spm_conn *c) { return c->store->life; }
const char *spm_store_medium(const spm_conn *c) { return c->store->data.media->name; }
const char *spm_store_path(const spm_conn *c) { return c->store->path; }
uint64_t spm_conn_size(const spm_conn *c) { return c->writing ? c->size : c->snapshot_size; }
uint64_t spm_conn_committed_size(const spm_conn *c) { return c->snapshot_size; }
uint64_t spm_conn_lsn(const spm_conn *c) { return c->snapshot; }
uint64_t spm_conn_latest_lsn(const spm_conn *c) { return spm_committed_lsn(c->store->shm); }
bool spm_conn_writing(const spm_conn *c) { return c->writing; }
bool spm_conn_modified(const spm_conn *c) { return c->writing && c->modified; }
bool spm_conn_poisoned(const spm_conn *c) { return spm_poisoned(c->store); }
bool spm_conn_durable(const spm_conn *c) {
  return atomic_load(&c->store->shm->durable_lsn) >= spm_committed_lsn(c->store->shm);
}
void spm_conn_poison(spm_conn *c) { spm_poison(c->store); }
bool spm_conn_orphaned(const spm_conn *c) {
  return atomic_load_explicit(&c->store->orphaned, memory_order_relaxed);
}

bool spm_conn_read_elsewhere(const spm_conn *c) { return spm_snapshot_elsewhere(c->store); }
bool spm_conn_writer_exists(const spm_conn *c) {
  spm_store *s = c->store;
  return spm_writer_held(s->shm) && spm_writer_alive(&s->locks, s->shm, atomic_load(&s->shm->writer));
}

int spm_conn_read(spm_conn *c, uint64_t offset, uint32_t n, void *to) {
  if (c->unreadable)
    return spm_error(SQLITE_IOERR, "%s: an earlier write failed; close it everywhere to recover it", c->store->path);
  return c->writing && c->modified ? spm_write_read(c, offset, n, to)
                                   : spm_snapshot_read(c, offset, n, to);
}

void spm_conn_want_pointers(spm_conn *c, bool wanted) { c->wants_pointers = wanted; }

const void *spm_conn_pointer(spm_conn *c, uint64_t offset, uint32_t n) {
  if (!c->pointing || c->unreadable || n == 0 || offset + n > c->snapshot_size) return NULL;
  if (atomic_load(&c->store->shm->images_pending) > 0) return NULL; /* X is older than the snapshot */
  if (c->writing && c->modified && spm_write_touches(c, offset, n)) return NULL;
  return c->store->data.base + offset;
}

/* The writer lock keeps X still for its holder; what its write set has moved to the log
** cannot be pointed to. */
const uint8_t *spm_conn_peek(const spm_conn *c, uint32_t block) {
  if (c->writing && c->modified) {
    const spm_dirty *d = spm_writeset_find(&c->set, block);
    if (d != NULL) return d->bytes;
  }
  if (c->writing) return (const uint8_t *)spm_versions_current(c->store, block);
  return (const uint8_t *)c->store->data.base + (uint64_t)block * SPM_BLOCK_SIZE;
}

bool spm_conn_peeked(const spm_conn *c) { return c->writing || spm_snapshot_still(c, c->moved); }

int spm_conn_read_committed(spm_conn *c, uint64_t offset, uint32_t n, void *to) {
  return spm_snapshot_read(c, offset, n, to);
}
