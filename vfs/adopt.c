/*
** adopt.c - see adopt.h.
*/
#include "adopt.h"

#include "passthrough.h"
#include "stamp.h"
#include "super.h"
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Between looking and locking the world may change; after so many times say BUSY. */
#define ATTEMPTS 8
#define EXCLUDE_TRIES 20
#define EXCLUDE_PAUSE_US 500

static const spm_host host = {
    .kind = "database",
    .identify = spm_stamp_identify,
    .stamp = spm_stamp_on,
    .unstamp = spm_stamp_off,
    .decide = spm_super_decide,
    .settled = spm_super_settled,
};

static int parent_lock(spm_dbfile *f, int level) { return f->parent->pMethods->xLock(f->parent, level); }
static void parent_unlock(spm_dbfile *f) {
  (void)f->parent->pMethods->xUnlock(f->parent, SQLITE_LOCK_NONE);
}

static int parent_kind(spm_dbfile *f, spm_header_kind *kind) {
  uint8_t block[SPM_BLOCK_SIZE];
  sqlite3_int64 size;
  int rc = f->parent->pMethods->xFileSize(f->parent, &size);
  if (rc == SQLITE_OK && size > 0) {
    rc = f->parent->pMethods->xRead(f->parent, block, sizeof block, 0);
    if (rc == SQLITE_IOERR_SHORT_READ) rc = SQLITE_OK;
  }
  if (rc == SQLITE_OK) *kind = spm_stamp_kind(block, (uint64_t)size);
  return rc;
}

static int parent_exists(spm_dbfile *f, const char *name, bool *exists) {
  int there = 0;
  int rc = f->parent_vfs->xAccess(f->parent_vfs, name, SQLITE_ACCESS_EXISTS, &there);
  *exists = there != 0;
  return rc;
}

/* Has stock SQLite left a journal or a WAL beside the file? */
static int leftovers(spm_dbfile *f, bool *found) {
  int rc = parent_exists(f, sqlite3_filename_journal(f->path), found);
  if (rc == SQLITE_OK && !*found) rc = parent_exists(f, sqlite3_filename_wal(f->path), found);
  return rc;
}

/* Is the file there, and does it begin with anything but a zero, as a journal that is hot
** and a WAL do? */
static int begins(const char *name, bool *does) {
  uint8_t first = 0;
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  *does = fd >= 0 && read(fd, &first, 1) == 1 && first != 0;
  bool unknown = fd < 0 && errno != ENOENT && errno != ENAMETOOLONG;
  if (fd >= 0) (void)close(fd);
  return unknown ? spm_error(SQLITE_IOERR_ACCESS, "opening %s: %s", name, strerror(errno)) : SQLITE_OK;
}

/* recovery=none: what stock SQLite would have to recover is refused as it is.  Parent's
** SHARED held; a journal in use is not hot, and is waited for elsewhere. */
static int refuse_leftovers(spm_dbfile *f) {
  const char *name = sqlite3_filename_journal(f->path);
  bool hot, wal = false;
  int reserved = 0, rc = begins(name, &hot);
  if (rc == SQLITE_OK && hot) rc = f->parent->pMethods->xCheckReservedLock(f->parent, &reserved);
  if (rc == SQLITE_OK && !hot) rc = begins(name = sqlite3_filename_wal(f->path), &wal);
  if (rc != SQLITE_OK || reserved || (!hot && !wal)) return rc;
  return spm_error(SQLITE_CANTOPEN,
                   "%s has %s beside it and needs recovery, which recovery=none forbids: copy both if they are wanted as"
                   " they are, then open it without that option",
                   f->path, name);
}

/* ------------------------------------------------- what stock left behind -- */

static int run(sqlite3 *db, const char *sql, bool *delete_mode) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
  if (rc != SQLITE_OK) return rc;
  while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
    const char *mode = (const char *)sqlite3_column_text(statement, 0);
    *delete_mode = mode != NULL && strcmp(mode, "delete") == 0;
  }
  return sqlite3_finalize(statement);
}

/* No lock is held while SQLite recovers: another process may have been faster. */
static bool stamped_meanwhile(spm_dbfile *f) {
  spm_header_kind kind = SPM_HEADER_FOREIGN;
  if (parent_lock(f, SQLITE_LOCK_SHARED) != SQLITE_OK) return true; /* somebody is at it */
  if (parent_kind(f, &kind) != SQLITE_OK) kind = SPM_HEADER_FOREIGN;
  parent_unlock(f);
  return kind == SPM_HEADER_STAMPED;
}

/* The first statement reads, and so rolls a hot journal back; leaving WAL mode
** checkpoints it; TRUNCATE to DELETE removes a journal that PERSIST had kept. */
static int recover_stock(spm_dbfile *f) {
  static const char *const steps[] = {
      "SELECT count(*) FROM sqlite_schema", "PRAGMA journal_mode=DELETE",
      "PRAGMA journal_mode=TRUNCATE", "PRAGMA journal_mode=DELETE"};
  sqlite3 *db = NULL;
  bool delete_mode = false;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOMUTEX;
  int rc = sqlite3_open_v2(f->path, &db, flags, f->parent_vfs->zName);
  for (size_t i = 0; rc == SQLITE_OK && i < sizeof steps / sizeof *steps; i++)
    rc = run(db, steps[i], &delete_mode);
  if (rc == SQLITE_OK && !delete_mode) rc = SQLITE_BUSY;
  if (rc == SQLITE_NOTADB && stamped_meanwhile(f)) rc = SQLITE_BUSY;
  if (rc == SQLITE_PROTOCOL) rc = SQLITE_BUSY; /* somebody holds the locks of the WAL for long */
  if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
    rc = spm_error(rc, "%s: SQLite's own recovery says: %s", f->path, db ? sqlite3_errmsg(db) : "no memory");
  (void)sqlite3_close(db);
  return (rc & 0xff) == SQLITE_BUSY ? SQLITE_BUSY : rc;
}

/* ------------------------------------------------------------- attaching -- */

static spm_store_options store_options(const spm_dbfile *f) {
  spm_store_options options = spm_options_of_store(&f->options);
  options.verifying = spm_verifying();
  return options;
}

/* Parent's SHARED held, header plain when last seen. */
static int create(spm_dbfile *f) {
  int rc = parent_lock(f, SQLITE_LOCK_EXCLUSIVE);
  spm_header_kind kind;
  bool found;
  if (rc == SQLITE_OK) rc = parent_kind(f, &kind);
  if (rc == SQLITE_OK) rc = leftovers(f, &found);
  if (rc != SQLITE_OK) return rc;
  if (found || (kind != SPM_HEADER_EMPTY && kind != SPM_HEADER_PLAIN)) return SQLITE_NOTFOUND;
  /* A file of one byte is an empty database to SQLite's unix VFS, and is told as such; a
  ** block of zeros is one here (stamp.c). */
  if (kind == SPM_HEADER_EMPTY) rc = f->parent->pMethods->xTruncate(f->parent, 0);
  if (rc != SQLITE_OK) return rc;
  spm_store_options options = store_options(f);
  return spm_store_create(f->path, &host, &options, &f->conn);
}

static int finish_half(spm_dbfile *f) {
  int rc = parent_lock(f, SQLITE_LOCK_EXCLUSIVE);
  spm_header_kind kind;
  if (rc == SQLITE_OK) rc = parent_kind(f, &kind);
  if (rc == SQLITE_OK && kind == SPM_HEADER_HALF) rc = spm_stamp_finish(f->path);
  return rc == SQLITE_OK ? SQLITE_NOTFOUND : rc;
}

static int folder_writable(const spm_dbfile *f, bool *writable) {
  char *copy = strdup(f->path);
  if (copy == NULL) return SQLITE_NOMEM;
  int rc = SQLITE_OK;
  *writable = access(dirname(copy), W_OK | X_OK) == 0;
  if (!*writable && errno != EACCES && errno != EROFS && errno != EPERM)
    rc = spm_error(SQLITE_IOERR_ACCESS, "looking at the folder of %s: %s", f->path, strerror(errno));
  free(copy);
  return rc;
}

/* Look, with the parent's SHARED held.  SQLITE_NOTFOUND: look again. */
static int attach_once(spm_dbfile *f) {
  spm_header_kind kind;
  bool found = false, writable = true;
  int rc = parent_kind(f, &kind);
  if (rc != SQLITE_OK) return rc;
  spm_store_options options = store_options(f);
  if (kind == SPM_HEADER_STAMPED) return spm_store_join(f->path, &host, &options, &f->conn);
  bool foreign = kind == SPM_HEADER_FOREIGN, reader = f->readonly || f->immutable;
  if (!foreign && !reader) rc = folder_writable(f, &writable);
  if (rc != SQLITE_OK) return rc;
  if (foreign || reader || !writable) {
    spm_pass(f, writable ? NULL : "its folder cannot be written to", foreign && !f->readonly);
    return SQLITE_OK;
  }
  if (kind == SPM_HEADER_HALF) return finish_half(f);
  rc = leftovers(f, &found);
  if (rc != SQLITE_OK) return rc;
  if (!found && kind != SPM_HEADER_WAL) return create(f);
  if (spm_options_is(&f->options, SPM_OPTION_recovery, "none")) rc = refuse_leftovers(f);
  parent_unlock(f);
  if (rc == SQLITE_OK) rc = recover_stock(f);
  return rc == SQLITE_OK ? SQLITE_NOTFOUND : rc;
}

/* recovery=full: damaged, nothing is handed over. */
static int verify(spm_dbfile *f) {
  char *finding;
  int rc = spm_verify(f->path, &finding);
  if (rc != SQLITE_OK)
    rc = spm_error(rc, "%s: recovery=full %s: %s", f->path, rc == SQLITE_CORRUPT ? "found" : "could not verify it",
                   finding ? finding : "no memory");
  sqlite3_free(finding);
  if (rc == SQLITE_OK) rc = spm_conn_verified(f->conn);
  if (rc != SQLITE_OK) spm_detach(f);
  return rc;
}

static int begin_unlogged(spm_dbfile *f) {
  spm_store_options options = spm_options_of_store(&f->options);
  int rc = spm_store_configure(f->conn, &options);
  if (rc != SQLITE_OK) spm_detach(f);
  return rc;
}

int spm_attach(spm_dbfile *f) {
  int rc = SQLITE_NOTFOUND;
  for (int i = 0; i < ATTEMPTS && rc == SQLITE_NOTFOUND; i++) {
    rc = parent_lock(f, SQLITE_LOCK_SHARED);
    if (rc != SQLITE_OK) return rc;
    rc = attach_once(f);
    if (!spm_passing(f)) parent_unlock(f);
  }
  if (rc == SQLITE_OK && f->conn != NULL && spm_conn_must_verify(f->conn)) rc = verify(f);
  if (rc == SQLITE_OK && f->conn != NULL && spm_options_is(&f->options, SPM_OPTION_wal, "off")) rc = begin_unlogged(f);
  return rc == SQLITE_NOTFOUND ? SQLITE_BUSY : rc;
}

/* ------------------------------------------------------------- detaching -- */

/* mode=ro gave a descriptor that can hold no write lock; the last to leave needs one. */
static int reopen_writable(spm_dbfile *f) {
  if (!f->readonly) return SQLITE_OK;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_DB;
  (void)f->parent->pMethods->xClose(f->parent);
  f->parent->pMethods = NULL;
  int rc = f->parent_vfs->xOpen(f->parent_vfs, f->path, f->parent, flags, &flags);
  return rc == SQLITE_OK && (flags & SQLITE_OPEN_READONLY) ? SQLITE_READONLY : rc;
}

/* A name with so long a suffix that no file can have it. */
static bool impossible(const char *name) {
  struct stat status;
  return stat(name, &status) != 0 && errno == ENAMETOOLONG;
}

/* Called by the last attachment: keep stock SQLite out, and remove what might be
** taken for its journal once the stamp is gone. */
static int exclude_stock(void *argument) {
  spm_dbfile *f = argument;
  int rc = reopen_writable(f);
  if (rc != SQLITE_OK) return rc;
  rc = SQLITE_BUSY;
  for (int i = 0; i < EXCLUDE_TRIES && rc == SQLITE_BUSY; i++) {
    if (i > 0) usleep(EXCLUDE_PAUSE_US);
    rc = parent_lock(f, SQLITE_LOCK_SHARED);
    if (rc == SQLITE_OK) rc = parent_lock(f, SQLITE_LOCK_EXCLUSIVE);
    if (rc != SQLITE_OK) parent_unlock(f);
  }
  if (rc != SQLITE_OK) return rc;
  rc = spm_super_sweep(f->path);
  const char *stale[] = {sqlite3_filename_journal(f->path), sqlite3_filename_wal(f->path)};
  for (size_t i = 0; rc == SQLITE_OK && i < 2; i++) {
    /* Not asked for first: SQLite's VFS takes an empty file for none. */
    rc = f->parent_vfs->xDelete(f->parent_vfs, stale[i], 1);
    if (rc == SQLITE_IOERR_DELETE_NOENT || (rc != SQLITE_OK && impossible(stale[i]))) rc = SQLITE_OK;
  }
  return rc;
}

void spm_detach(spm_dbfile *f) {
  if (f->conn == NULL) return;
  spm_store_detach(f->conn, exclude_stock, f);
  f->conn = NULL;
  if (f->parent->pMethods != NULL) parent_unlock(f);
}
