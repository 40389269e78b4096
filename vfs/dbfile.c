/*
** dbfile.c - a database file on the store: the pager's io methods.
**
**     PAGER                        STORE
**     xLock SHARED                 attach if need be; register a snapshot
**     xLock RESERVED, EXCLUSIVE    become the writer
**     xWrite, xTruncate            into the write set
**     FCNTL_SYNC                   stage: all that can fail; PREPARE with a super-journal
**     FCNTL_COMMIT_PHASETWO        commit: the one durability point
**     xUnlock SHARED               drop what was not committed; writer no more
**     xUnlock NONE                 the snapshot ends
**
** xSync says of a transaction only that it wants to be durable: without it, that is with
** synchronous=OFF, a commit does not wait for media.
*/
#include "dbfile.h"

#include "adopt.h"
#include "files.h"
#include "passthrough.h"
#include "stamp.h"
#include "super.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER_AT 24
#define COUNTER_TWIN_AT 92
#define FORMAT_AT 18
#define FORMAT_WAL 2

static spm_dbfile *of(sqlite3_file *file) { return ((spm_file *)(void *)file)->db; }

spm_dbfile *spm_dbfile_of(sqlite3_file *file) {
  bool ours = file != NULL && (file->pMethods == &spm_dbfile_methods || file->pMethods == &spm_pass_methods ||
                               file->pMethods == &spm_refused_methods);
  return ours ? of(file) : NULL;
}

bool spm_dbfile_attached(const spm_dbfile *f) { return f->conn != NULL; }

int spm_dbfile_orphan_error(const spm_dbfile *f) {
  return spm_error(SQLITE_IOERR, "%s was opened before a fork: the child must open it again", f->path);
}

/* --------------------------------------------------------------- opening -- */

/* immutable=1 takes no locks at all: what the file is now it must stay. */
static int open_immutable(spm_dbfile *f) {
  int rc = spm_attach(f);
  if (rc != SQLITE_OK) return rc;
  if (spm_passing(f)) {
    (void)f->parent->pMethods->xUnlock(f->parent, SQLITE_LOCK_NONE);
    return SQLITE_OK;
  }
  return spm_snapshot_begin(f->conn);
}

static int check_options(spm_dbfile *f) {
  spm_options_default(&f->options);
  if (sqlite3_uri_boolean(f->path, "nolock", 0))
    return spm_error(SQLITE_CANTOPEN, "nolock=1 cannot be had on this VFS: its snapshots need the locks");
  return spm_options_parse(&f->options, f->path);
}

static spm_dbfile *dbfile_new(sqlite3_vfs *parent, const char *path, spm_file *handle) {
  spm_dbfile *f = calloc(1, sizeof *f + (size_t)parent->szOsFile);
  if (f == NULL) return NULL;
  f->parent_vfs = f->journal.parent_vfs = parent;
  f->parent = (sqlite3_file *)(void *)(f + 1);
  f->path = path;
  f->powersafe = sqlite3_uri_boolean(path, "psow", 1) != 0;
  f->immutable = sqlite3_uri_boolean(path, "immutable", 0) != 0;
  memcpy(f->journal_mode, "delete", sizeof "delete");
  f->handle = handle;
  handle->db = f;
  handle->base.pMethods = &spm_dbfile_methods;
  return f;
}

static int open_parent(spm_dbfile *f, int flags, int *out_flags) {
  int got = flags;
  int rc = f->parent_vfs->xOpen(f->parent_vfs, f->path, f->parent, flags, &got);
  if (rc != SQLITE_OK) return spm_error(rc, "opening %s: %s", f->path, strerror(errno));
  f->readonly = (got & SQLITE_OPEN_READONLY) != 0;
  if (out_flags != NULL) *out_flags = got;
  spm_files_add(f);
  f->listed = true;
  return SQLITE_OK;
}

int spm_dbfile_open(sqlite3_vfs *parent, const char *path, spm_file *handle, int flags, int *out_flags) {
  spm_dbfile *f = dbfile_new(parent, path, handle);
  if (f == NULL) return SQLITE_NOMEM;
  if (out_flags != NULL) *out_flags = flags;
  if (check_options(f) != SQLITE_OK) {
    spm_refuse(f);
    return SQLITE_OK;
  }
  int rc = open_parent(f, flags, out_flags);
  if (rc == SQLITE_OK && f->immutable) rc = open_immutable(f);
  if (rc == SQLITE_OK) return rc;
  if (rc == SQLITE_BUSY) /* which sqlite3_open() does not know */
    rc = spm_error(SQLITE_CANTOPEN, "%s is busy, and immutable=1 has to look at it now", path);
  (void)spm_dbfile_close(&handle->base);
  handle->base.pMethods = NULL;
  return rc;
}

int spm_dbfile_close(sqlite3_file *file) {
  spm_dbfile *f = of(file);
  int rc = SQLITE_OK;
  spm_detach(f);
  if (f->listed) spm_files_remove(f);
  if (f->parent->pMethods != NULL) rc = f->parent->pMethods->xClose(f->parent);
  spm_journal_free(&f->journal);
  sqlite3_free(f->refusal);
  sqlite3_free(f->super);
  free(f);
  return rc;
}

/* ------------------------------------------------------- transaction ends -- */

/* The transaction is decided, durably: its stub goes (S20). */
static int drop_stub(spm_dbfile *f) {
  if (f->super == NULL) return SQLITE_OK;
  int rc = spm_super_settled(f->path, f->super);
  sqlite3_free(f->super);
  f->super = NULL;
  return rc;
}

/* Nobody knows what media hold: the stub stays for recovery. */
static void leave_stub(spm_dbfile *f) {
  sqlite3_free(f->super);
  f->super = NULL;
}

static int abandon(spm_dbfile *f) {
  int rc = spm_commit_rollback(f->conn);
  if (rc == SQLITE_OK && !spm_conn_poisoned(f->conn)) return drop_stub(f);
  leave_stub(f);
  return rc;
}

/* V4: the counter of every commit is above the one before, also where SQLite did not
** touch it. */
static int advance_counter(spm_dbfile *f) {
  uint8_t before[4] = {0}, now[4];
  int rc = SQLITE_OK;
  if (spm_conn_size(f->conn) == 0) return SQLITE_OK;
  if (spm_conn_committed_size(f->conn) > COUNTER_AT)
    rc = spm_conn_read_committed(f->conn, COUNTER_AT, sizeof before, before);
  if (rc == SQLITE_OK) rc = spm_conn_read(f->conn, COUNTER_AT, sizeof now, now);
  if (rc != SQLITE_OK) return rc;
  uint32_t old = spm_get4(before), wanted = spm_get4(now);
  if ((int32_t)(wanted - old) <= 0) wanted = old + 1;
  if (wanted == spm_get4(now)) return SQLITE_OK;
  spm_put4(now, wanted);
  rc = spm_write(f->conn, COUNTER_AT, sizeof now, now);
  return rc == SQLITE_OK ? spm_write(f->conn, COUNTER_TWIN_AT, sizeof now, now) : rc;
}

int spm_dbfile_sync(spm_dbfile *f, const char *super) {
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  if (!spm_conn_modified(f->conn)) return SQLITE_OK;
  int rc = advance_counter(f);
  if (rc == SQLITE_OK && super != NULL) {
    f->super = sqlite3_mprintf("%s", super);
    rc = f->super ? spm_super_stub(f->path, super) : SQLITE_NOMEM;
  }
  if (rc == SQLITE_OK) rc = spm_commit_stage(f->conn, super);
  spm_commit_unsynced(f->conn, true); /* until xSync comes */
  if (rc != SQLITE_OK && f->super != NULL) (void)abandon(f);
  return rc;
}

/* V1: after PHASETWO only SQLITE_OK, SQLITE_FULL and SQLITE_IOERR_* are understood.
** The stub is the last thing to go; if that fails the commit stands all the same. */
int spm_dbfile_commit(spm_dbfile *f) {
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  int rc = spm_commit_finish(f->conn);
  if (rc != SQLITE_OK) {
    leave_stub(f);
    spm_journal_clear(&f->journal);
    return rc == SQLITE_FULL || (rc & 0xff) == SQLITE_IOERR ? rc : SQLITE_IOERR;
  }
  if (drop_stub(f) != SQLITE_OK) spm_notice("%s: its stub journal could not be removed", f->path);
  f->commits_in_a_row++;
  f->committed = true;
  return SQLITE_OK;
}

/* ----------------------------------------------------------------- locks -- */

/* V2: plain BUSY, which the pager understands everywhere. */
static int plain_busy(int rc) { return (rc & 0xff) == SQLITE_BUSY ? SQLITE_BUSY : rc; }

static int begin_shared(spm_dbfile *f) {
  if (f->conn == NULL) {
    int rc = spm_attach(f);
    if (rc != SQLITE_OK || f->conn == NULL) return plain_busy(rc);
  }
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  spm_conn_want_pointers(f->conn, f->mmap_limit > 0);
  return plain_busy(f->exclusive ? spm_snapshot_hold(f->conn) : spm_snapshot_begin(f->conn)); /* V3 */
}

/* Straight from SHARED as well: what is refused then must leave no lock behind. */
static int lock_exclusive(spm_dbfile *f) {
  int rc = plain_busy(spm_write_begin(f->conn));
  if (rc != SQLITE_OK) return rc;
  rc = spm_write_permitted(f->conn);
  if (rc == SQLITE_OK && f->exclusive) spm_write_exclude(f->conn);
  if (rc != SQLITE_OK && f->lock < SQLITE_LOCK_RESERVED) (void)spm_write_end(f->conn);
  return rc;
}

static int db_lock(sqlite3_file *file, int level) {
  spm_dbfile *f = of(file);
  int rc = SQLITE_OK;
  if (level <= f->lock) return SQLITE_OK;
  if (f->conn != NULL && spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  if (f->lock == SQLITE_LOCK_NONE) {
    rc = begin_shared(f);
    if (rc != SQLITE_OK) return rc;
    f->lock = SQLITE_LOCK_SHARED;
    if (f->conn == NULL) return level > SQLITE_LOCK_SHARED ? file->pMethods->xLock(file, level) : SQLITE_OK;
  }
  if (level == SQLITE_LOCK_RESERVED) {
    if (f->readonly) return spm_error(SQLITE_READONLY, "%s was opened read-only", f->path);
    rc = spm_write_begin(f->conn);
  } else if (level == SQLITE_LOCK_EXCLUSIVE) {
    rc = lock_exclusive(f);
  }
  if (rc == SQLITE_OK) f->lock = level;
  return rc;
}

static int end_write(spm_dbfile *f) {
  int rc = SQLITE_OK;
  if (spm_conn_modified(f->conn)) {
    spm_journal_clear(&f->journal);
    rc = abandon(f);
  }
  int ended = spm_write_end(f->conn);
  return rc == SQLITE_OK ? ended : rc;
}

static int db_unlock(sqlite3_file *file, int level) {
  spm_dbfile *f = of(file);
  int rc = SQLITE_OK;
  if (level >= f->lock) return SQLITE_OK;
  f->lock = level;
  if (f->conn == NULL || spm_conn_orphaned(f->conn)) return SQLITE_OK;
  rc = end_write(f);
  if (level != SQLITE_LOCK_NONE) return rc;
  spm_snapshot_end(f->conn);
  if (!f->committed) f->commits_in_a_row = 0;
  f->committed = false;
  return rc;
}

static int db_reserved(sqlite3_file *file, int *reserved) {
  spm_dbfile *f = of(file);
  if (f->conn == NULL) return f->parent->pMethods->xCheckReservedLock(f->parent, reserved);
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  *reserved = spm_conn_writer_exists(f->conn);
  return SQLITE_OK;
}

/* --------------------------------------------------------------- reading -- */

static int short_read(void *to, int n, uint64_t got) {
  memset((char *)to + got, 0, (uint64_t)n - got);
  return SQLITE_IOERR_SHORT_READ;
}

/* Before the first lock SQLite reads the header, to learn the page size. */
static int read_header(spm_dbfile *f, void *to, int n, sqlite3_int64 offset) {
  uint8_t header[SPM_HEADER_SIZE];
  int rc = f->parent->pMethods->xRead(f->parent, header, sizeof header, 0);
  spm_header_kind kind = rc == SQLITE_OK ? spm_stamp_kind(header, sizeof header) : SPM_HEADER_FOREIGN;
  bool stamped = kind == SPM_HEADER_STAMPED || kind == SPM_HEADER_HALF;
  if (stamped && spm_stamp_placeholder(header)) return short_read(to, n, 0);
  rc = f->parent->pMethods->xRead(f->parent, to, n, offset);
  if (stamped && (rc == SQLITE_OK || rc == SQLITE_IOERR_SHORT_READ))
    spm_stamp_show(to, (uint64_t)offset, (uint64_t)n);
  return rc;
}

static int read_attached(spm_dbfile *f, void *to, int n, sqlite3_int64 offset) {
  uint64_t at = (uint64_t)offset, wanted = (uint64_t)n, size = spm_conn_size(f->conn);
  uint64_t there = at >= size ? 0 : size - at < wanted ? size - at : wanted;
  int rc = there > 0 ? spm_conn_read(f->conn, at, (uint32_t)there, to) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  if (at < SPM_HEADER_SIZE) spm_stamp_show(to, at, there);
  return there == wanted ? SQLITE_OK : short_read(to, n, there);
}

/* The pager looks at the counter when a transaction begins: the moment to see, without a
** system call, whether somebody has copied another file over this one. */
static int read_counter(spm_dbfile *f, void *to, int n) {
  uint8_t header[SPM_HEADER_SIZE];
  if (spm_conn_size(f->conn) < sizeof header) return read_attached(f, to, n, COUNTER_AT);
  int rc = spm_conn_read(f->conn, 0, sizeof header, header);
  if (rc != SQLITE_OK) return rc;
  if (!spm_stamp_matches(header, spm_store_life(f->conn)))
    return spm_error(SQLITE_CORRUPT, "%s was written over while it was open", f->path);
  memcpy(to, header + COUNTER_AT, (size_t)n);
  return SQLITE_OK;
}

/* Without a lock there is no snapshot to read from: make one for this call. */
static int with_snapshot(spm_dbfile *f, void *to, int n, sqlite3_int64 offset, sqlite3_int64 *size) {
  if (f->conn == NULL) {
    if (size == NULL) return read_header(f, to, n, offset);
    uint8_t header[SPM_HEADER_SIZE];
    int rc = read_header(f, header, sizeof header, 0);
    if (rc == SQLITE_IOERR_SHORT_READ && header[0] == 0) *size = 0;
    return rc == SQLITE_IOERR_SHORT_READ && header[0] == 0 ? SQLITE_OK
                                                           : f->parent->pMethods->xFileSize(f->parent, size);
  }
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  int rc = spm_snapshot_begin(f->conn);
  if (rc != SQLITE_OK) return rc;
  if (size != NULL)
    *size = (sqlite3_int64)spm_conn_size(f->conn);
  else
    rc = read_attached(f, to, n, offset);
  spm_snapshot_end(f->conn);
  return rc;
}

static bool has_snapshot(const spm_dbfile *f) {
  return f->conn != NULL && (f->lock > SQLITE_LOCK_NONE || f->immutable);
}

static int db_read(sqlite3_file *file, void *to, int n, sqlite3_int64 offset) {
  spm_dbfile *f = of(file);
  if (!has_snapshot(f)) return with_snapshot(f, to, n, offset, NULL);
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  if (n != 16 || offset != COUNTER_AT) return read_attached(f, to, n, offset);
  if (spm_conn_modified(f->conn)) { /* V3: a transaction begins, the last one was rolled back */
    spm_journal_clear(&f->journal);
    int rc = abandon(f);
    if (rc != SQLITE_OK) return rc;
  }
  return read_counter(f, to, n);
}

static int db_size(sqlite3_file *file, sqlite3_int64 *size) {
  spm_dbfile *f = of(file);
  if (!has_snapshot(f)) return with_snapshot(f, NULL, 0, 0, size);
  *size = (sqlite3_int64)spm_conn_size(f->conn);
  return SQLITE_OK;
}

/* --------------------------------------------------------------- writing -- */

/* A prepared transaction that is written to again is being rolled back. */
static int leave_prepared(spm_dbfile *f) { return f->super != NULL ? abandon(f) : SQLITE_OK; }

/* The stamp replaces bytes of a SQLite header; a shim above this VFS that writes
** anything else there would not get it back. */
static int check_header(const spm_dbfile *f, const void *from, int n, sqlite3_int64 offset) {
  if (offset >= SPM_HEADER_SIZE) return SQLITE_OK;
  if (offset == 0 && n >= 512 && spm_stamp_possible(from)) return SQLITE_OK;
  return spm_error(SQLITE_IOERR_WRITE,
                   "%s: only a SQLite database can be written here; a VFS on top of pmem must not change its first page",
                   f->path);
}

/* V5, in the pager's own page, as cksumvfs writes its checksums there: in exclusive
** mode SQLite never reads the page again, and would look for a WAL for ever. */
static void refuse_wal(const void *page) {
  uint8_t *format = (uint8_t *)(uintptr_t)page + FORMAT_AT;
  if (format[1] == FORMAT_WAL) format[0] = format[1] = 1;
}

static int db_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 offset) {
  spm_dbfile *f = of(file);
  if (f->conn == NULL) return spm_error(SQLITE_IOERR_WRITE, "%s: write without a lock", f->path);
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  int rc = check_header(f, from, n, offset);
  if (rc == SQLITE_OK) rc = leave_prepared(f);
  if (rc == SQLITE_OK && offset == 0) refuse_wal(from);
  if (rc == SQLITE_OK) rc = spm_write(f->conn, (uint64_t)offset, (uint32_t)n, from);
  if (rc != SQLITE_OK || offset != 0) return rc;
  return spm_stamp_write(f->conn);
}

static int db_truncate(sqlite3_file *file, sqlite3_int64 size) {
  spm_dbfile *f = of(file);
  if (f->conn == NULL) return spm_error(SQLITE_IOERR_TRUNCATE, "%s: truncate without a lock", f->path);
  if (spm_conn_orphaned(f->conn)) return spm_dbfile_orphan_error(f);
  return spm_write_truncate(f->conn, (uint64_t)size);
}

static int db_sync(sqlite3_file *file, int flags) {
  spm_dbfile *f = of(file);
  (void)flags;
  if (f->conn == NULL || spm_conn_orphaned(f->conn)) return SQLITE_OK;
  if (!spm_conn_modified(f->conn)) return spm_conn_flush(f->conn);
  spm_commit_unsynced(f->conn, false);
  return SQLITE_OK;
}

/* -------------------------------------------------------------- zero copy -- */

/* V9.  Page 1 is shown unstamped, and so never in place. */
static int db_fetch(sqlite3_file *file, sqlite3_int64 offset, int n, void **at) {
  spm_dbfile *f = of(file);
  *at = NULL;
  if (f->mmap_limit <= 0 || offset < SPM_BLOCK_SIZE || offset + n > f->mmap_limit) return SQLITE_OK;
  if (!has_snapshot(f) || spm_conn_orphaned(f->conn)) return SQLITE_OK;
  *at = (void *)(uintptr_t)spm_conn_pointer(f->conn, (uint64_t)offset, (uint32_t)n);
  f->fetched += *at != NULL;
  return SQLITE_OK;
}

/* Pointers stay valid until the snapshot ends: nothing is mapped for one. */
static int db_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *at) {
  (void)offset;
  of(file)->fetched -= at != NULL;
  return SQLITE_OK;
}

/* ---------------------------------------------------------------- others -- */

static int db_control(sqlite3_file *file, int op, void *argument) {
  return spm_dbfile_control(of(file), op, argument);
}

static int db_sector(sqlite3_file *file) {
  (void)file;
  return 512;
}

static int db_characteristics(sqlite3_file *file) {
  const spm_dbfile *f = of(file);
  return SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_SEQUENTIAL |
         (f->powersafe ? SQLITE_IOCAP_POWERSAFE_OVERWRITE : 0);
}

/* No xShmMap: without it SQLite never enters WAL mode here. */
const sqlite3_io_methods spm_dbfile_methods = {
    .iVersion = 3,
    .xClose = spm_dbfile_close,
    .xRead = db_read,
    .xWrite = db_write,
    .xTruncate = db_truncate,
    .xSync = db_sync,
    .xFileSize = db_size,
    .xLock = db_lock,
    .xUnlock = db_unlock,
    .xCheckReservedLock = db_reserved,
    .xFileControl = db_control,
    .xSectorSize = db_sector,
    .xDeviceCharacteristics = db_characteristics,
    .xFetch = db_fetch,
    .xUnfetch = db_unfetch,
};
