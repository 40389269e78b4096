/*
** instrument.c - the test instrumentation of SQLite's os_unix.c, on top of any VFS.
**
** Many of SQLite's scripts look at variables that only the SQLITE_TEST build of
** os_unix.c keeps: counts of syncs and open files, a settable clock, countdowns to a
** simulated I/O error or full disk, randomness that is zero so that runs repeat.  A VFS
** with I/O of its own knows nothing of them: these scripts would fail on it or, where
** they loop until no more faults are hit, pass at once having tested little.
**
** So the VFS is replaced, under its own name, by a wrapper that keeps the variables at
** the points where os_unix.c does.  Beneath it they are frozen and disarmed: files that
** the VFS forwards to "unix" are not counted twice.
*/
#include "inject.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------- variables -- */

#define WEAK __attribute__((weak))
extern int sqlite3_io_error_hit WEAK, sqlite3_io_error_hardhit WEAK, sqlite3_io_error_pending WEAK,
    sqlite3_io_error_persist WEAK, sqlite3_io_error_benign WEAK, sqlite3_diskfull_pending WEAK,
    sqlite3_diskfull WEAK, sqlite3_open_file_count WEAK, sqlite3_sync_count WEAK, sqlite3_fullsync_count WEAK,
    sqlite3_current_time WEAK;

/* The first three are countdowns: zero disarms them. */
#define ARMED 3
static int *const variables[] = {
    &sqlite3_io_error_pending, &sqlite3_io_error_persist, &sqlite3_diskfull_pending, &sqlite3_io_error_hit,
    &sqlite3_io_error_hardhit, &sqlite3_io_error_benign, &sqlite3_diskfull, &sqlite3_open_file_count,
    &sqlite3_sync_count, &sqlite3_fullsync_count};
#define VARIABLES (sizeof variables / sizeof *variables)

typedef struct frozen {
  int values[VARIABLES];
} frozen;

static frozen freeze(void) {
  frozen f;
  for (size_t i = 0; i < VARIABLES; i++) f.values[i] = *variables[i];
  for (size_t i = 0; i < ARMED; i++) *variables[i] = 0;
  return f;
}

static void thaw(const frozen *f) {
  for (size_t i = 0; i < VARIABLES; i++) *variables[i] = f->values[i];
}

#define BELOW(call)       \
  do {                    \
    frozen kept = freeze(); \
    call;                 \
    thaw(&kept);          \
  } while (0)

static void hit(void) {
  sqlite3_io_error_hit++;
  if (!sqlite3_io_error_benign) sqlite3_io_error_hardhit++;
}

static bool io_error(void) {
  bool now = (sqlite3_io_error_persist && sqlite3_io_error_hit) || sqlite3_io_error_pending-- == 1;
  if (now) hit();
  return now;
}

static bool disk_full(void) {
  if (sqlite3_diskfull_pending == 0) return false;
  if (sqlite3_diskfull_pending != 1) {
    sqlite3_diskfull_pending--;
    return false;
  }
  hit();
  sqlite3_diskfull = 1;
  sqlite3_io_error_hit = 1;
  return true;
}

/* ----------------------------------------------------------------- files -- */

/* Small, for dbstatus.test knows the size of os_unix.c's file object to about a hundred
** bytes.  The file of the VFS below lies right behind. */
typedef struct file {
  sqlite3_file base;
  bool folder_unsynced; /* the next sync is one of the folder as well */
} file;

static sqlite3_vfs *below, wrapper;

static sqlite3_file *real(sqlite3_file *f) { return (sqlite3_file *)(void *)((file *)(void *)f + 1); }
static const sqlite3_io_methods *methods(sqlite3_file *f) { return real(f)->pMethods; }

static int file_close(sqlite3_file *f) {
  int rc;
  BELOW(rc = methods(f)->xClose(real(f)));
  sqlite3_open_file_count--;
  return rc;
}

static int file_read(sqlite3_file *f, void *to, int n, sqlite3_int64 offset) {
  int rc;
  if (io_error()) return SQLITE_IOERR_READ;
  BELOW(rc = methods(f)->xRead(real(f), to, n, offset));
  return rc;
}

static int file_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 offset) {
  int rc;
  BELOW(rc = methods(f)->xWrite(real(f), from, n, offset));
  if (io_error()) return SQLITE_IOERR_WRITE;
  return disk_full() ? SQLITE_FULL : rc;
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size) {
  int rc;
  if (io_error()) return SQLITE_IOERR_TRUNCATE;
  BELOW(rc = methods(f)->xTruncate(real(f), size));
  return rc;
}

static int file_sync(sqlite3_file *f, int flags) {
  int rc;
  if (disk_full()) return SQLITE_FULL;
  if ((flags & 0x0f) == SQLITE_SYNC_FULL) sqlite3_fullsync_count++;
  sqlite3_sync_count++;
  BELOW(rc = methods(f)->xSync(real(f), flags));
  if (io_error()) return SQLITE_IOERR_FSYNC;
  file *own = (file *)(void *)f;
  if (rc == SQLITE_OK && own->folder_unsynced) {
    sqlite3_sync_count++;
    own->folder_unsynced = false;
  }
  return rc;
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size) {
  int rc;
  BELOW(rc = methods(f)->xFileSize(real(f), size));
  return io_error() ? SQLITE_IOERR_FSTAT : rc;
}

static int file_lock(sqlite3_file *f, int level) {
  int rc;
  BELOW(rc = methods(f)->xLock(real(f), level));
  return rc;
}

static int file_unlock(sqlite3_file *f, int level) {
  int rc;
  BELOW(rc = methods(f)->xUnlock(real(f), level));
  return rc;
}

static int file_reserved(sqlite3_file *f, int *reserved) {
  int rc;
  if (io_error()) return SQLITE_IOERR_CHECKRESERVEDLOCK;
  BELOW(rc = methods(f)->xCheckReservedLock(real(f), reserved));
  return rc;
}

static int file_control(sqlite3_file *f, int op, void *argument) {
  int rc;
  BELOW(rc = methods(f)->xFileControl(real(f), op, argument));
  return rc;
}

static int file_sector(sqlite3_file *f) { return methods(f)->xSectorSize(real(f)); }
static int file_characteristics(sqlite3_file *f) { return methods(f)->xDeviceCharacteristics(real(f)); }

static int file_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **at) {
  int rc;
  BELOW(rc = methods(f)->xShmMap(real(f), region, size, extend, at));
  return rc;
}

static int file_shm_lock(sqlite3_file *f, int offset, int n, int flags) {
  int rc;
  BELOW(rc = methods(f)->xShmLock(real(f), offset, n, flags));
  return rc;
}

static void file_shm_barrier(sqlite3_file *f) { methods(f)->xShmBarrier(real(f)); }

static int file_shm_unmap(sqlite3_file *f, int remove) {
  int rc;
  BELOW(rc = methods(f)->xShmUnmap(real(f), remove));
  return rc;
}

static int file_fetch(sqlite3_file *f, sqlite3_int64 offset, int n, void **at) {
  int rc;
  BELOW(rc = methods(f)->xFetch(real(f), offset, n, at));
  return rc;
}

static int file_unfetch(sqlite3_file *f, sqlite3_int64 offset, void *at) {
  int rc;
  BELOW(rc = methods(f)->xUnfetch(real(f), offset, at));
  return rc;
}

/* The wrapper's methods for a file with methods `m`: the same version, and NULL where it
** has NULL. */
static sqlite3_io_methods mirror(const sqlite3_io_methods *m) {
  sqlite3_io_methods w = {
      .iVersion = m->iVersion > 3 ? 3 : m->iVersion,
      .xClose = file_close, .xRead = file_read, .xWrite = file_write, .xTruncate = file_truncate,
      .xSync = file_sync, .xFileSize = file_size, .xLock = file_lock, .xUnlock = file_unlock,
      .xCheckReservedLock = file_reserved, .xFileControl = file_control, .xSectorSize = file_sector,
      .xDeviceCharacteristics = file_characteristics};
  if (m->iVersion >= 2 && m->xShmMap != NULL) {
    w.xShmMap = file_shm_map;
    w.xShmLock = file_shm_lock;
    w.xShmBarrier = file_shm_barrier;
    w.xShmUnmap = file_shm_unmap;
  }
  if (m->iVersion >= 3 && m->xFetch != NULL) {
    w.xFetch = file_fetch;
    w.xUnfetch = file_unfetch;
  }
  return w;
}

/* One table for each kind of file there is. */
static const sqlite3_io_methods *wrapped(const sqlite3_io_methods *m) {
  enum { KINDS = 16 };
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static sqlite3_io_methods kinds[KINDS];
  static int used;
  sqlite3_io_methods w = mirror(m);
  int i = 0;
  pthread_mutex_lock(&mutex);
  while (i < used && memcmp(&kinds[i], &w, sizeof w) != 0) i++;
  if (i == KINDS) abort();
  if (i == used) kinds[used++] = w;
  pthread_mutex_unlock(&mutex);
  return &kinds[i];
}

/* ------------------------------------------------------------------- VFS -- */

static int vfs_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out_flags) {
  const int journals = SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL;
  int rc;
  (void)v;
  f->pMethods = NULL;
  memset(real(f), 0, (size_t)below->szOsFile);
  if (name == NULL && io_error()) return SQLITE_IOERR; /* as os_unix.c's search for a temporary name */
  BELOW(rc = below->xOpen(below, name, real(f), flags, out_flags));
  const sqlite3_io_methods *m = methods(f);
  if (rc != SQLITE_OK) {
    if (m != NULL) (void)m->xClose(real(f)); /* SQLite would, but sees no methods here */
    return rc;
  }
  ((file *)(void *)f)->folder_unsynced = (flags & SQLITE_OPEN_CREATE) && (flags & journals);
  f->pMethods = wrapped(m);
  sqlite3_open_file_count++;
  return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync) {
  int rc;
  (void)v;
  if (io_error()) return SQLITE_IOERR_DELETE;
  BELOW(rc = below->xDelete(below, name, sync));
  if (rc == SQLITE_OK && (sync & 1)) sqlite3_sync_count++;
  return rc;
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *result) {
  int rc;
  (void)v;
  if (io_error()) return SQLITE_IOERR_ACCESS;
  BELOW(rc = below->xAccess(below, name, flags, result));
  return rc;
}

static int vfs_full_path(sqlite3_vfs *v, const char *name, int n, char *out) {
  int rc;
  (void)v;
  BELOW(rc = below->xFullPathname(below, name, n, out));
  return rc;
}

static void *vfs_dl_open(sqlite3_vfs *v, const char *name) {
  (void)v;
  return below->xDlOpen(below, name);
}
static void vfs_dl_error(sqlite3_vfs *v, int n, char *text) {
  (void)v;
  below->xDlError(below, n, text);
}
static void (*vfs_dl_sym(sqlite3_vfs *v, void *handle, const char *name))(void) {
  (void)v;
  return below->xDlSym(below, handle, name);
}
static void vfs_dl_close(sqlite3_vfs *v, void *handle) {
  (void)v;
  below->xDlClose(below, handle);
}

static int vfs_randomness(sqlite3_vfs *v, int n, char *out) {
  (void)v;
  memset(out, 0, (size_t)n);
  return n;
}

static int vfs_sleep(sqlite3_vfs *v, int microseconds) {
  (void)v;
  return below->xSleep(below, microseconds);
}

static int vfs_last_error(sqlite3_vfs *v, int n, char *text) {
  (void)v;
  return below->xGetLastError(below, n, text);
}

static int vfs_time64(sqlite3_vfs *v, sqlite3_int64 *now) {
  const sqlite3_int64 unix_epoch = 24405875 * (sqlite3_int64)8640000;
  (void)v;
  if (sqlite3_current_time == 0) return below->xCurrentTimeInt64(below, now);
  *now = 1000 * (sqlite3_int64)sqlite3_current_time + unix_epoch;
  return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *v, double *now) {
  sqlite3_int64 milliseconds = 0;
  int rc = vfs_time64(v, &milliseconds);
  *now = (double)milliseconds / 86400000.0;
  return rc;
}

/* test_syscall.c calls these on the default VFS whatever its version is. */
static int vfs_set_call(sqlite3_vfs *v, const char *name, sqlite3_syscall_ptr call) {
  v = sqlite3_vfs_find("unix");
  return v->xSetSystemCall(v, name, call);
}
static sqlite3_syscall_ptr vfs_get_call(sqlite3_vfs *v, const char *name) {
  v = sqlite3_vfs_find("unix");
  return v->xGetSystemCall(v, name);
}
static const char *vfs_next_call(sqlite3_vfs *v, const char *name) {
  v = sqlite3_vfs_find("unix");
  return v->xNextSystemCall(v, name);
}

sqlite3_vfs *spm_instrument(sqlite3_vfs *vfs) {
  if (&sqlite3_io_error_pending == NULL) return vfs; /* not testfixture */
  below = vfs;
  wrapper = (sqlite3_vfs){
      .iVersion = 3, .szOsFile = (int)sizeof(file) + vfs->szOsFile, .mxPathname = vfs->mxPathname,
      .zName = vfs->zName, .xOpen = vfs_open, .xDelete = vfs_delete, .xAccess = vfs_access,
      .xFullPathname = vfs_full_path, .xDlOpen = vfs_dl_open, .xDlError = vfs_dl_error, .xDlSym = vfs_dl_sym,
      .xDlClose = vfs_dl_close, .xRandomness = vfs_randomness, .xSleep = vfs_sleep, .xCurrentTime = vfs_time,
      .xGetLastError = vfs_last_error, .xCurrentTimeInt64 = vfs_time64, .xSetSystemCall = vfs_set_call,
      .xGetSystemCall = vfs_get_call, .xNextSystemCall = vfs_next_call};
  sqlite3_vfs_unregister(vfs);
  return &wrapper;
}
