/*
** vfs.c - the VFS `pmem`: database files are ours, everything else is the parent's.
*/
#include "vfs.h"

#include "adopt.h"
#include "dbfile.h"
#include "files.h"
#include "passthrough.h"
#include "super.h"

#include <string.h>

static sqlite3_vfs *parent_of(sqlite3_vfs *v) { return v->pAppData; }

/* The database whose own journal or WAL `name` is, while it is attached. */
static spm_dbfile *attached_by_name(const char *name) {
  spm_dbfile *f = name ? spm_files_by_name(name) : NULL;
  return f != NULL && spm_dbfile_attached(f) ? f : NULL;
}

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *out_flags) {
  sqlite3_vfs *parent = parent_of(v);
  file->pMethods = NULL;
  if (flags & SQLITE_OPEN_MAIN_DB)
    return spm_dbfile_open(parent, name, (spm_file *)(void *)file, flags, out_flags);
  spm_dbfile *f = attached_by_name(name);
  if (f == NULL || (flags & SQLITE_OPEN_SUPER_JOURNAL)) return parent->xOpen(parent, name, file, flags, out_flags);
  if (flags & SQLITE_OPEN_WAL)
    return spm_error(SQLITE_CANTOPEN, "%s has a log of its own and cannot enter WAL mode", f->path);
  spm_journal_open((spm_journal_file *)(void *)file, &f->journal);
  if (out_flags != NULL) *out_flags = flags;
  return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync) {
  spm_dbfile *f = attached_by_name(name);
  if (f == NULL) return parent_of(v)->xDelete(parent_of(v), name, sync);
  spm_journal_clear(&f->journal);
  return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *result) {
  if (attached_by_name(name) == NULL) return parent_of(v)->xAccess(parent_of(v), name, flags, result);
  *result = 0;
  return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *v, const char *name, int n, char *out) {
  return parent_of(v)->xFullPathname(parent_of(v), name, n, out);
}
static void *vfs_dl_open(sqlite3_vfs *v, const char *name) {
  return parent_of(v)->xDlOpen(parent_of(v), name);
}
static void vfs_dl_error(sqlite3_vfs *v, int n, char *text) {
  parent_of(v)->xDlError(parent_of(v), n, text);
}
static void (*vfs_dl_sym(sqlite3_vfs *v, void *handle, const char *name))(void) {
  return parent_of(v)->xDlSym(parent_of(v), handle, name);
}
static void vfs_dl_close(sqlite3_vfs *v, void *handle) { parent_of(v)->xDlClose(parent_of(v), handle); }
static int vfs_randomness(sqlite3_vfs *v, int n, char *out) {
  return parent_of(v)->xRandomness(parent_of(v), n, out);
}
static int vfs_sleep(sqlite3_vfs *v, int microseconds) {
  return parent_of(v)->xSleep(parent_of(v), microseconds);
}
static int vfs_time(sqlite3_vfs *v, double *now) { return parent_of(v)->xCurrentTime(parent_of(v), now); }
static int vfs_time64(sqlite3_vfs *v, sqlite3_int64 *now) {
  return parent_of(v)->xCurrentTimeInt64(parent_of(v), now);
}
static int vfs_last_error(sqlite3_vfs *v, int n, char *text) {
  (void)v;
  if (n > 0) (void)sqlite3_snprintf(n, text, "%s", spm_last_error());
  return spm_last_errno();
}

/* A SQLite file object here is a database's, a journal's, or the parent's own. */
static int object_size(const sqlite3_vfs *parent) {
  size_t size = sizeof(spm_file) > sizeof(spm_journal_file) ? sizeof(spm_file) : sizeof(spm_journal_file);
  return (int)size > parent->szOsFile ? (int)size : parent->szOsFile;
}

static sqlite3_vfs vfs = {
    .iVersion = 2,
    .zName = "pmem",
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_path,
    .xDlOpen = vfs_dl_open,
    .xDlError = vfs_dl_error,
    .xDlSym = vfs_dl_sym,
    .xDlClose = vfs_dl_close,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_time,
    .xGetLastError = vfs_last_error,
    .xCurrentTimeInt64 = vfs_time64,
};

bool spm_vfs_taken(void) {
  const sqlite3_vfs *present = sqlite3_vfs_find(vfs.zName);
  return present != NULL && present != &vfs;
}

int spm_vfs_register(bool make_default) {
  sqlite3_vfs *present = sqlite3_vfs_find(NULL);
  if (present == NULL) return SQLITE_ERROR;
  if (vfs.pAppData == NULL) {
    vfs.pAppData = present;
    vfs.szOsFile = object_size(present);
    vfs.mxPathname = present->mxPathname;
    spm_super_parent(present);
  }
  if (present == &vfs) make_default = true; /* registering again must not undo it */
  return sqlite3_vfs_register(&vfs, make_default);
}

bool spm_vfs_owns(sqlite3_file *file) { return spm_dbfile_of(file) != NULL; }

char *spm_vfs_refusal(sqlite3 *db) {
  sqlite3_file *file = NULL;
  (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  const spm_dbfile *f = spm_dbfile_of(file);
  return f != NULL && f->refusal != NULL ? sqlite3_mprintf("%s", f->refusal) : NULL;
}
