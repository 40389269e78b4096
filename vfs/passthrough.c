/*
** passthrough.c - see passthrough.h.
*/
#include "passthrough.h"

#include <string.h>

void spm_pass(spm_dbfile *f, const char *why, bool writable) {
  if (why != NULL) spm_notice("%s is served read-only: %s", f->path, why);
  f->pass_writable = writable;
  f->handle->base.pMethods = &spm_pass_methods;
}

bool spm_passing(const spm_dbfile *f) { return f->handle->base.pMethods == &spm_pass_methods; }

void spm_refuse(spm_dbfile *f) {
  f->refusal = sqlite3_mprintf("%s", spm_last_error());
  f->handle->base.pMethods = &spm_refused_methods;
}

static spm_dbfile *of(sqlite3_file *file) { return ((spm_file *)(void *)file)->db; }

#define FORWARD(file, method, ...) of(file)->parent->pMethods->method(of(file)->parent, __VA_ARGS__)

static int pass_read(sqlite3_file *file, void *to, int n, sqlite3_int64 offset) {
  return FORWARD(file, xRead, to, n, offset);
}
static int pass_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 offset) {
  return FORWARD(file, xWrite, from, n, offset);
}
static int pass_truncate(sqlite3_file *file, sqlite3_int64 size) { return FORWARD(file, xTruncate, size); }
static int pass_sync(sqlite3_file *file, int flags) { return FORWARD(file, xSync, flags); }
static int pass_size(sqlite3_file *file, sqlite3_int64 *size) { return FORWARD(file, xFileSize, size); }

/* EXCLUSIVE straight from SHARED is the parent rolling a hot journal back. */
static int pass_lock(sqlite3_file *file, int level) {
  if (level == SQLITE_LOCK_RESERVED && !of(file)->pass_writable)
    return spm_error(SQLITE_READONLY, "%s is served read-only here", of(file)->path);
  int rc = FORWARD(file, xLock, level);
  if (rc == SQLITE_OK) of(file)->lock = level;
  return rc;
}

static int pass_unlock(sqlite3_file *file, int level) {
  int rc = FORWARD(file, xUnlock, level);
  of(file)->lock = level;
  /* The next lock looks again: the file may have changed hands. */
  if (level == SQLITE_LOCK_NONE) file->pMethods = &spm_dbfile_methods;
  return rc;
}

static int pass_reserved(sqlite3_file *file, int *reserved) {
  return FORWARD(file, xCheckReservedLock, reserved);
}

static int pass_control(sqlite3_file *file, int op, void *argument) {
  switch (op) {
    case SQLITE_FCNTL_PRAGMA:
    case SQLITE_FCNTL_VFSNAME:
    case SQLITE_FCNTL_PDB:
      return spm_dbfile_control(of(file), op, argument);
    default:
      return FORWARD(file, xFileControl, op, argument);
  }
}

static int pass_sector(sqlite3_file *file) {
  return of(file)->parent->pMethods->xSectorSize(of(file)->parent);
}
static int pass_characteristics(sqlite3_file *file) {
  return of(file)->parent->pMethods->xDeviceCharacteristics(of(file)->parent);
}
static int pass_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **at) {
  if (of(file)->parent->pMethods->iVersion < 2) return SQLITE_CANTOPEN;
  return FORWARD(file, xShmMap, region, size, extend, at);
}
static int pass_shm_lock(sqlite3_file *file, int offset, int n, int flags) {
  return FORWARD(file, xShmLock, offset, n, flags);
}
static void pass_shm_barrier(sqlite3_file *file) {
  of(file)->parent->pMethods->xShmBarrier(of(file)->parent);
}
static int pass_shm_unmap(sqlite3_file *file, int remove) { return FORWARD(file, xShmUnmap, remove); }

/* The pager may have decided to fetch while the file was in another state. */
static int no_fetch(sqlite3_file *file, sqlite3_int64 offset, int n, void **at) {
  (void)file, (void)offset, (void)n;
  *at = NULL;
  return SQLITE_OK;
}
static int no_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *at) {
  (void)file, (void)offset, (void)at;
  return SQLITE_OK;
}

const sqlite3_io_methods spm_pass_methods = {
    .iVersion = 3,
    .xClose = spm_dbfile_close,
    .xRead = pass_read,
    .xWrite = pass_write,
    .xTruncate = pass_truncate,
    .xSync = pass_sync,
    .xFileSize = pass_size,
    .xLock = pass_lock,
    .xUnlock = pass_unlock,
    .xCheckReservedLock = pass_reserved,
    .xFileControl = pass_control,
    .xSectorSize = pass_sector,
    .xDeviceCharacteristics = pass_characteristics,
    .xShmMap = pass_shm_map,
    .xShmLock = pass_shm_lock,
    .xShmBarrier = pass_shm_barrier,
    .xShmUnmap = pass_shm_unmap,
    .xFetch = no_fetch,
    .xUnfetch = no_unfetch,
};

/* --------------------------------------------------------------- refused -- */

static int refused_read(sqlite3_file *file, void *to, int n, sqlite3_int64 offset) {
  (void)file, (void)offset;
  memset(to, 0, (size_t)n);
  return SQLITE_IOERR_SHORT_READ;
}
static int refused_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 offset) {
  (void)file, (void)from, (void)n, (void)offset;
  return SQLITE_IOERR_WRITE;
}
static int refused_truncate(sqlite3_file *file, sqlite3_int64 size) {
  (void)file, (void)size;
  return SQLITE_IOERR_TRUNCATE;
}
/* With nolock=1 the pager asks for no lock: this is where it learns of the refusal. */
static int refused_size(sqlite3_file *file, sqlite3_int64 *size) {
  *size = 0;
  return spm_error(SQLITE_CANTOPEN, "%s", of(file)->refusal ? of(file)->refusal : "refused");
}
static int refused_lock(sqlite3_file *file, int level) {
  (void)level;
  return spm_error(SQLITE_CANTOPEN, "%s", of(file)->refusal ? of(file)->refusal : "refused");
}
static int refused_unlock(sqlite3_file *file, int level) {
  (void)file, (void)level;
  return SQLITE_OK;
}
static int refused_sync(sqlite3_file *file, int flags) {
  (void)file, (void)flags;
  return SQLITE_OK;
}
static int refused_reserved(sqlite3_file *file, int *reserved) {
  (void)file;
  *reserved = 0;
  return SQLITE_OK;
}
static int refused_control(sqlite3_file *file, int op, void *argument) {
  return op == SQLITE_FCNTL_PRAGMA || op == SQLITE_FCNTL_VFSNAME ? spm_dbfile_control(of(file), op, argument)
                                                                 : SQLITE_NOTFOUND;
}
static int refused_sector(sqlite3_file *file) {
  (void)file;
  return 4096;
}
static int refused_characteristics(sqlite3_file *file) {
  (void)file;
  return 0;
}

const sqlite3_io_methods spm_refused_methods = {
    .iVersion = 3,
    .xClose = spm_dbfile_close,
    .xRead = refused_read,
    .xWrite = refused_write,
    .xTruncate = refused_truncate,
    .xSync = refused_sync,
    .xFileSize = refused_size,
    .xLock = refused_lock,
    .xUnlock = refused_unlock,
    .xCheckReservedLock = refused_reserved,
    .xFileControl = refused_control,
    .xSectorSize = refused_sector,
    .xDeviceCharacteristics = refused_characteristics,
    .xFetch = no_fetch,
    .xUnfetch = no_unfetch,
};
