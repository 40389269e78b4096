/*
** write.c - see write.h.
*/
#include "write.h"

#include "log.h"
#include "version.h"
#include "writeset.h"

#include <string.h>

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
int spm_write_check_log(const spm_conn *c) {
  if (!c->unreadable) return SQLITE_OK;
  return spm_error(SQLITE_IOERR_WRITE, "%s: an earlier write failed; close it everywhere to recover it", c->store->path);
}

/* A store that is larger than it may be can be changed, and shrink, but not grow. */
int spm_write_check_capacity(const spm_conn *c) {
  uint64_t size_max = atomic_load_explicit(&c->store->size_max, memory_order_relaxed);
  if (size_max == 0 || c->size <= size_max || c->size <= c->snapshot_size) return SQLITE_OK;
  return spm_error(SQLITE_FULL, "%s: %llu bytes pass the %llu that its option size allows", c->store->path,
                   (unsigned long long)c->size, (unsigned long long)size_max);
}

/* Move everything resident to the log: uncommitted records, read back at need. */
static int spill(spm_conn *c) {
  spm_store *s = c->store;
  int rc = spm_write_check_log(c);
  if (rc == SQLITE_OK) rc = spm_write_check_capacity(c);
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

void spm_write_unstage(spm_conn *c) {
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
  spm_write_unstage(c);
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
  spm_write_unstage(c);
  return fill_gap(c, size);
}

int spm_write_edit(spm_conn *c, uint32_t block, uint8_t **bytes) {
  uint64_t start = (uint64_t)block * SPM_BLOCK_SIZE;
  bool fresh, behind = start >= c->size;
  if (!c->writing || c->stage >= SPM_PREPARED)
    return spm_error(SQLITE_IOERR_WRITE, "%s: write outside a transaction", c->store->path);
  spm_write_unstage(c);
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
