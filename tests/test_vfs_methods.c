/*
** test_vfs_methods.c - what the pager calls, called directly: the methods of a file,
** its controls, and the VFS's own.  SQLite itself hardly notices a lie in most of
** them, so each is asked here.
*/
#include "database.h"
#include "test_vfs.h"

#include "../vfs/store/error.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static sqlite3_file *file_of(sqlite3 *db) {
  sqlite3_file *file = NULL;
  ck_assert_int_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
  ck_assert_ptr_nonnull(file);
  return file;
}

static int lock(sqlite3_file *f, int level) { return f->pMethods->xLock(f, level); }
static int unlock(sqlite3_file *f, int level) { return f->pMethods->xUnlock(f, level); }
static int control(sqlite3_file *f, int op, void *argument) { return f->pMethods->xFileControl(f, op, argument); }

/* A connection whose pager stays out of the way: the test plays the pager. */
static sqlite3 *prepared(const char *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, zeroblob(10000))");
  return db;
}

/* ---------------------------------------------------------------- header -- */

static void check_header(const uint8_t *header, bool stamped) {
  ck_assert_mem_eq(header, "SQLite format 3", 16);
  bool plain = header[18] == 1 && header[19] == 1;
  static const uint8_t zeros[20];
  ck_assert_int_eq(plain, !stamped);
  ck_assert_int_eq(memcmp(header + 72, zeros, sizeof zeros) == 0, !stamped);
}

START_TEST(the_header_is_stamped_on_media_only) {
  const char *path = path_on(_i, "header.db");
  sqlite3 *db = prepared(path);
  uint8_t header[100], part[8];
  sqlite3_file *f = file_of(db);
  for (int i = 0; i < 3; i++) {
    raw_read(path, 0, header, sizeof header);
    check_header(header, true);
    /* As the pager reads it: before a lock, in a snapshot, in a transaction. */
    if (i > 0) ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
    if (i > 1) ck_assert_int_eq(lock(f, SQLITE_LOCK_RESERVED), SQLITE_OK);
    ck_assert_int_eq(f->pMethods->xRead(f, header, sizeof header, 0), SQLITE_OK);
    check_header(header, false);
    ck_assert_int_eq(f->pMethods->xRead(f, part, sizeof part, 15), SQLITE_OK); /* 18 in the middle */
    ck_assert_mem_eq(part, header + 15, sizeof part);
    ck_assert_int_eq(f->pMethods->xRead(f, part, sizeof part, 68), SQLITE_OK); /* 72 in the middle */
    ck_assert_mem_eq(part, header + 68, sizeof part);
    ck_assert_int_eq(f->pMethods->xRead(f, part, sizeof part, 88), SQLITE_OK); /* 91 in the middle */
    ck_assert_mem_eq(part, header + 88, sizeof part);
    ck_assert_int_eq(unlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  }
  close_db(db);
  raw_read(path, 0, header, sizeof header);
  check_header(header, false);
  stock_accepts(path);
}
END_TEST

/* Stock SQLite would write to a file without a byte. */
START_TEST(an_empty_database_has_a_placeholder) {
  const char *path = path_on(_i, "empty.db");
  uint8_t header[100], byte = 0xaa;
  sqlite3_int64 size = -1;
  sqlite3 *db = open_pmem(path);
  expect(db, "SELECT count(*) FROM sqlite_schema", "0");
  ck_assert_int_gt(file_size(path), 0);
  raw_read(path, 0, header, sizeof header);
  check_header(header, true);
  sqlite3_file *f = file_of(db);
  ck_assert_int_eq(f->pMethods->xFileSize(f, &size), SQLITE_OK);
  ck_assert_int_eq(size, 0);
  ck_assert_int_eq(f->pMethods->xRead(f, &byte, 1, 0), SQLITE_IOERR_SHORT_READ);
  ck_assert_uint_eq(byte, 0);
  sqlite3 *stock = open_stock(path);
  expect_code(stock, "CREATE TABLE t(a)", SQLITE_NOTADB);
  close_db(stock);
  /* Another connection, whose header read meets the placeholder. */
  sqlite3 *other = open_pmem(path);
  expect(other, "SELECT count(*) FROM sqlite_schema", "0");
  run(other, "PRAGMA page_size = 1024; CREATE TABLE t(a)");
  expect(db, "SELECT count(*) FROM t", "0");
  expect(db, "PRAGMA page_size", "1024");
  run(db, "INSERT INTO t VALUES(1)");
  close_db(other);
  close_db(db);
  stock_accepts(path);
  /* Empty it was, and empty it comes back. */
  const char *second = path_on(_i, "second.db");
  db = open_pmem(second);
  expect(db, "SELECT count(*) FROM sqlite_schema", "0");
  close_db(db);
  ck_assert_int_eq(file_size(second), 0);
  only_plain_file(second);
}
END_TEST

/* --------------------------------------------------------------- reading -- */

START_TEST(short_reads_are_filled_with_zeros) {
  const char *path = path_on(_i, "short.db");
  sqlite3 *db = prepared(path);
  sqlite3_file *f = file_of(db);
  uint8_t got[300], wanted[100];
  sqlite3_int64 size;
  static const uint8_t zeros[300];
  for (int locked = 0; locked < 2; locked++) {
    if (locked) ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
    ck_assert_int_eq(f->pMethods->xFileSize(f, &size), SQLITE_OK);
    ck_assert_int_eq(size % 4096, 0);
    ck_assert_int_eq(f->pMethods->xRead(f, wanted, 100, size - 100), SQLITE_OK);
    memset(got, 0xaa, sizeof got);
    ck_assert_int_eq(f->pMethods->xRead(f, got, sizeof got, size - 100), SQLITE_IOERR_SHORT_READ);
    ck_assert_mem_eq(got, wanted, 100);
    ck_assert_mem_eq(got + 100, zeros, 200);
    memset(got, 0xaa, sizeof got);
    ck_assert_int_eq(f->pMethods->xRead(f, got, sizeof got, size + 123456), SQLITE_IOERR_SHORT_READ);
    ck_assert_mem_eq(got, zeros, sizeof got);
  }
  (void)unlock(f, SQLITE_LOCK_NONE);
  /* The journal in its heap too. */
  sqlite3_file *journal = NULL;
  run(db, "BEGIN; UPDATE t SET a = 2");
  ck_assert_int_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &journal), SQLITE_OK);
  ck_assert_int_eq(journal->pMethods->xFileSize(journal, &size), SQLITE_OK);
  ck_assert_int_gt(size, 512);
  memset(got, 0xaa, sizeof got);
  ck_assert_int_eq(journal->pMethods->xRead(journal, got, sizeof got, size - 100), SQLITE_IOERR_SHORT_READ);
  ck_assert_mem_eq(got + 100, zeros, 200);
  run(db, "ROLLBACK");
  close_db(db);
}
END_TEST

/* ----------------------------------------------------------------- locks -- */

static int reserved(sqlite3_file *f) {
  int answer = -1;
  ck_assert_int_eq(f->pMethods->xCheckReservedLock(f, &answer), SQLITE_OK);
  return answer;
}

static void write_and_wait(void *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 2)");
  (void)raise(SIGSTOP);
}

START_TEST(check_reserved_lock_tells_the_truth) {
  const char *path = path_on(_i, "reserved.db");
  sqlite3 *a = prepared(path), *b = open_pmem(path);
  sqlite3_file *f = file_of(b), *mine = file_of(a);
  run(b, "SELECT * FROM t");
  ck_assert_int_eq(reserved(f), 0);
  run(a, "BEGIN");
  run(a, "SELECT * FROM t");
  ck_assert_int_eq(reserved(f), 0);
  run(a, "INSERT INTO t VALUES(2, 2)");
  ck_assert_int_eq(reserved(f), 1);
  ck_assert_int_eq(reserved(mine), 1);
  run(a, "ROLLBACK");
  ck_assert_int_eq(reserved(f), 0);
  /* Of another process: while it lives, though it is stopped, and no longer. */
  pid_t child = in_child(write_and_wait, (void *)(uintptr_t)path);
  while (reserved(f) == 0) usleep(1000);
  expect_code(a, "BEGIN IMMEDIATE", SQLITE_BUSY);
  kill_child(child);
  ck_assert_int_eq(reserved(f), 0);
  run(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 3); COMMIT");
  expect(b, "SELECT count(*) FROM t", "2");
  close_db(a);
  close_db(b);
  stock_accepts(path);
}
END_TEST

/* V2, code by code. */
START_TEST(locks_say_what_the_pager_understands) {
  const char *path = path_on(_i, "locks.db");
  sqlite3 *a = prepared(path), *b = open_pmem(path);
  run(b, "SELECT * FROM t");
  sqlite3_file *f = file_of(b);
  ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  run(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 2)");
  ck_assert_int_eq(lock(f, SQLITE_LOCK_RESERVED), SQLITE_BUSY);
  ck_assert_int_eq(lock(f, SQLITE_LOCK_EXCLUSIVE), SQLITE_BUSY);
  run(a, "COMMIT");
  ck_assert_int_eq(lock(f, SQLITE_LOCK_RESERVED), SQLITE_BUSY_SNAPSHOT);
  ck_assert_int_eq(lock(f, SQLITE_LOCK_EXCLUSIVE), SQLITE_BUSY);
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  /* Straight to EXCLUSIVE, as hot journals are rolled back: it is the writer. */
  ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(lock(f, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
  expect_code(a, "BEGIN IMMEDIATE", SQLITE_BUSY);
  ck_assert_int_eq(reserved(file_of(a)), 1);
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  run(a, "BEGIN IMMEDIATE; COMMIT");
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  /* Refused for a reader in exclusive mode: SHARED stays, the writer's lock does not. */
  sqlite3 *holder = open_pmem(path);
  run(holder, "PRAGMA locking_mode = EXCLUSIVE; SELECT * FROM t");
  ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(lock(f, SQLITE_LOCK_EXCLUSIVE), SQLITE_BUSY);
  ck_assert_int_eq(reserved(f), 0);
  run(a, "BEGIN IMMEDIATE; ROLLBACK");
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  close_db(holder);
  close_db(a);
  close_db(b);
}
END_TEST

/* One transaction as the pager makes it; the result of its commit point. */
static int write_page_one(sqlite3_file *f, uint8_t mark) {
  uint8_t page[4096];
  ck_assert_int_eq(lock(f, SQLITE_LOCK_RESERVED), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xRead(f, page, sizeof page, 0), SQLITE_OK);
  page[68] = mark; /* application_id */
  page[27]++;
  ck_assert_int_eq(lock(f, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xWrite(f, page, sizeof page, 0), SQLITE_OK);
  int rc = control(f, SQLITE_FCNTL_SYNC, NULL);
  if (rc == SQLITE_OK) rc = f->pMethods->xSync(f, SQLITE_SYNC_NORMAL);
  return rc;
}

static uint8_t read_mark(sqlite3_file *f) {
  uint8_t mark;
  ck_assert_int_eq(f->pMethods->xRead(f, &mark, 1, 68), SQLITE_OK);
  return mark;
}

/* A commit without the unlock drops nothing; an unlock without the commit drops all.
** FCNTL_SYNC is not the commit: it comes at the end of a rollback as well. */
START_TEST(phasetwo_is_the_commit_point) {
  const char *path = path_on(_i, "commit.db");
  sqlite3 *a = prepared(path), *b = open_pmem(path);
  run(b, "SELECT * FROM t");
  sqlite3_file *f = file_of(b);
  ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(write_page_one(f, 1), SQLITE_OK);
  ck_assert_uint_eq(read_mark(f), 1);
  expect(a, "PRAGMA application_id", "0");
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_uint_eq(read_mark(f), 0);
  ck_assert_int_eq(write_page_one(f, 2), SQLITE_OK);
  ck_assert_int_eq(control(f, SQLITE_FCNTL_COMMIT_PHASETWO, NULL), SQLITE_OK);
  expect(a, "PRAGMA application_id", "33554432");
  /* Its snapshot is its own commit (V2), and nothing is left to commit. */
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_uint_eq(read_mark(f), 2);
  ck_assert_int_eq(control(f, SQLITE_FCNTL_COMMIT_PHASETWO, NULL), SQLITE_OK);
  ck_assert_int_eq(write_page_one(f, 3), SQLITE_OK);
  ck_assert_int_eq(control(f, SQLITE_FCNTL_COMMIT_PHASETWO, NULL), SQLITE_OK);
  expect(a, "PRAGMA application_id", "50331648");
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  close_db(b);
  close_db(a);
}
END_TEST

/* V3: reading the counter says that a transaction begins; what is pending is gone. */
START_TEST(a_counter_read_drops_what_is_pending) {
  const char *path = path_on(_i, "counter.db");
  sqlite3 *b = prepared(path);
  sqlite3_file *f = file_of(b);
  uint8_t counter[16];
  ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(write_page_one(f, 1), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xRead(f, counter, sizeof counter, 24), SQLITE_OK);
  ck_assert_uint_eq(read_mark(f), 0);
  ck_assert_int_eq(control(f, SQLITE_FCNTL_COMMIT_PHASETWO, NULL), SQLITE_OK);
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  expect(b, "PRAGMA application_id", "0");
  close_db(b);
}
END_TEST

static void limit_files(rlim_t bytes) {
  struct rlimit limit = {bytes, RLIM_INFINITY};
  (void)signal(SIGXFSZ, SIG_IGN);
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* V1: the log cannot be written any more when the commit record is due.  The code is
** one the pager understands, the transaction is gone, and stays gone. */
START_TEST(a_commit_that_fails_is_rolled_back) {
  const char *path = path_on(ON_DISK, "fails.db");
  sqlite3 *a = prepared(path), *b = open_pmem(path);
  run(b, "SELECT * FROM t");
  sqlite3_file *f = file_of(b);
  ck_assert_int_eq(lock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(write_page_one(f, 1), SQLITE_OK);
  limit_files(4096);
  int rc = control(f, SQLITE_FCNTL_COMMIT_PHASETWO, NULL);
  limit_files(RLIM_INFINITY);
  ck_assert_msg(rc == SQLITE_FULL || (rc & 0xff) == SQLITE_IOERR, "PHASETWO says %d", rc);
  ck_assert_uint_eq(read_mark(f), 0);
  ck_assert_int_eq(unlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  expect(a, "PRAGMA application_id", "0");
  close_db(a);
  close_db(b);
  a = open_pmem(path);
  expect(a, "PRAGMA application_id", "0");
  run(a, "INSERT INTO t VALUES(2, 2)");
  integrity(a);
  close_db(a);
  stock_accepts(path);
}
END_TEST

/* The same seen from SQL: an error, and everything as before. */
START_TEST(a_full_disk_costs_one_transaction) {
  const char *path = path_on(_i, "full.db");
  sqlite3 *db = prepared(path);
  for (int i = 0; i < 2; i++) {
    run(db, "BEGIN; INSERT INTO t VALUES(2, zeroblob(4000000))");
    limit_files(2000000);
    int rc = code_of(db, "COMMIT");
    limit_files(RLIM_INFINITY);
    ck_assert_int_eq(rc, SQLITE_FULL);
    if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
    expect(db, "SELECT count(*) FROM t", "1");
    integrity(db);
    run(db, "UPDATE t SET a = a + 1");
  }
  run(db, "INSERT INTO t VALUES(2, zeroblob(4000000))");
  integrity(db);
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* -------------------------------------------------------------- controls -- */

START_TEST(file_controls) {
  const char *path = path_on(_i, "controls.db");
  sqlite3 *db = prepared(path);
  sqlite3_file *f = file_of(db);
  int value = 99;
  char *name = NULL;

  ck_assert_int_eq(control(f, SQLITE_FCNTL_LOCKSTATE, &value), SQLITE_OK);
  ck_assert_int_eq(value, SQLITE_LOCK_NONE);
  run(db, "BEGIN IMMEDIATE");
  ck_assert_int_eq(control(f, SQLITE_FCNTL_LOCKSTATE, &value), SQLITE_OK);
  ck_assert_int_eq(value, SQLITE_LOCK_RESERVED);
  run(db, "COMMIT");

  ck_assert_int_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name), SQLITE_OK);
  ck_assert_str_eq(name, "pmem");
  sqlite3_free(name);
  ck_assert_int_eq(control(f, SQLITE_FCNTL_TEMPFILENAME, &name), SQLITE_OK);
  ck_assert(name != NULL && name[0] == '/');
  sqlite3_free(name);

  value = -1;
  ck_assert_int_eq(control(f, SQLITE_FCNTL_POWERSAFE_OVERWRITE, &value), SQLITE_OK);
  ck_assert_int_eq(value, 1);
  ck_assert(f->pMethods->xDeviceCharacteristics(f) & SQLITE_IOCAP_POWERSAFE_OVERWRITE);
  value = 0;
  ck_assert_int_eq(control(f, SQLITE_FCNTL_POWERSAFE_OVERWRITE, &value), SQLITE_OK);
  ck_assert(!(f->pMethods->xDeviceCharacteristics(f) & SQLITE_IOCAP_POWERSAFE_OVERWRITE));
  value = -1;
  ck_assert_int_eq(control(f, SQLITE_FCNTL_POWERSAFE_OVERWRITE, &value), SQLITE_OK);
  ck_assert_int_eq(value, 0);

  ck_assert_int_eq(control(f, SQLITE_FCNTL_LAST_ERRNO, &value), SQLITE_OK);
  value = 1 << 20;
  ck_assert_int_eq(control(f, SQLITE_FCNTL_CHUNK_SIZE, &value), SQLITE_OK);
  sqlite3_int64 size = 1 << 24;
  ck_assert_int_eq(control(f, SQLITE_FCNTL_SIZE_HINT, &size), SQLITE_OK);
  for (int op = 5000; op < 5003; op++) ck_assert_int_eq(control(f, op, &value), SQLITE_NOTFOUND);
  expect_code(db, "PRAGMA no_such_pragma", SQLITE_OK);
  integrity(db);
  close_db(db);
  stock_accepts(path);
}
END_TEST

START_TEST(has_moved) {
  const char *path = path_on(_i, "here.db"), *elsewhere = path_on(_i, "there.db");
  sqlite3 *db = prepared(path);
  sqlite3_file *f = file_of(db);
  int moved = 99;
  ck_assert_int_eq(control(f, SQLITE_FCNTL_HAS_MOVED, &moved), SQLITE_OK);
  ck_assert_int_eq(moved, 0);
  ck_assert_int_eq(rename(path, elsewhere), 0);
  ck_assert_int_eq(control(f, SQLITE_FCNTL_HAS_MOVED, &moved), SQLITE_OK);
  ck_assert_int_eq(moved, 1);
  ck_assert_int_eq(rename(elsewhere, path), 0);
  ck_assert_int_eq(control(f, SQLITE_FCNTL_HAS_MOVED, &moved), SQLITE_OK);
  ck_assert_int_eq(moved, 0);
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* Asked by the pager in every transaction, looked up not in every commit. */
START_TEST(a_moved_file_is_not_written) {
  const char *path = path_on(_i, "here.db"), *elsewhere = path_on(_i, "there.db");
  sqlite3 *db = prepared(path);
  ck_assert_int_eq(rename(path, elsewhere), 0);
  expect(db, "SELECT count(*) FROM t", "1");
  expect_code(db, "UPDATE t SET a = 2", SQLITE_READONLY_DBMOVED); /* after a read: at once */
  ck_assert_int_eq(rename(elsewhere, path), 0);
  for (int i = 0; i < 3; i++) run(db, "UPDATE t SET a = a + 1");
  ck_assert_int_eq(rename(path, elsewhere), 0);
  int commits = 0, rc;
  while ((rc = code_of(db, "UPDATE t SET a = a + 1")) == SQLITE_OK && commits < 2000) commits++;
  ck_assert_int_eq(rc, SQLITE_READONLY_DBMOVED); /* in a run of commits: within a thousand or so */
  ck_assert_int_le(commits, 1024);
  ck_assert_int_eq(rename(elsewhere, path), 0);
  run(db, "UPDATE t SET a = a - %d", commits);
  expect(db, "SELECT a FROM t", "4");
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* Or the tests on a disk would be tests of something else. */
START_TEST(the_medium_is_the_one_meant) {
  sqlite3 *db = prepared(path_on(_i, "medium.db"));
  expect(db, "PRAGMA pmem_medium", _i != ON_PMEM ? "file" : pmem_is_real() ? "pmem" : "pmem-forced");
  close_db(db);
}
END_TEST

START_TEST(psow_in_the_uri) {
  sqlite3 *db = open_with(path_on(_i, "psow.db"), "pmem", "psow=0");
  sqlite3_file *f = file_of(db);
  ck_assert(!(f->pMethods->xDeviceCharacteristics(f) & SQLITE_IOCAP_POWERSAFE_OVERWRITE));
  close_db(db);
}
END_TEST

/* ------------------------------------------------------ the VFS's methods -- */

START_TEST(last_error_is_told) {
  char said[512] = "";
  const char *path = path_on(_i, "error.db");
  ck_assert_int_eq(open_code(path, "pmem", "nolock=1"), SQLITE_CANTOPEN);
  sqlite3_vfs *vfs = sqlite3_vfs_find("pmem");
  (void)vfs->xGetLastError(vfs, (int)sizeof said, said);
  ck_assert_msg(strstr(said, "nolock") != NULL, "%s", said);
  (void)vfs->xGetLastError(vfs, 4, said); /* no room: cut, with its terminator */
  ck_assert_uint_lt(strlen(said), 4);
  (void)vfs->xGetLastError(vfs, 0, NULL);
}
END_TEST

/* V7: only the journal of the open database, by SQLite's own name for it, is
** swallowed; about everything else the truth is told. */
START_TEST(other_files_are_the_parent_s) {
  const char *path = path_on(_i, "own.db"), *stranger = path_on(_i, "stranger-journal");
  sqlite3 *db = prepared(path);
  sqlite3_vfs *vfs = sqlite3_vfs_find("pmem");
  int there = -1;
  ck_assert_int_eq(vfs->xAccess(vfs, stranger, SQLITE_ACCESS_EXISTS, &there), SQLITE_OK);
  ck_assert_int_eq(there, 0);
  raw_copy(path, stranger);
  ck_assert_int_eq(vfs->xAccess(vfs, stranger, SQLITE_ACCESS_EXISTS, &there), SQLITE_OK);
  ck_assert_int_eq(there, 1);
  /* A child journal, asked for by a name out of a super-journal. */
  const char *journal = beside(path, "-journal");
  raw_copy(path, journal);
  ck_assert_int_eq(vfs->xAccess(vfs, journal, SQLITE_ACCESS_EXISTS, &there), SQLITE_OK);
  ck_assert_int_eq(there, 1);
  sqlite3_file *file = calloc(1, (size_t)vfs->szOsFile);
  int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_SUPER_JOURNAL;
  sqlite3_int64 size = 0;
  ck_assert_int_eq(vfs->xOpen(vfs, journal, file, flags, &flags), SQLITE_OK);
  ck_assert_int_eq(file->pMethods->xFileSize(file, &size), SQLITE_OK);
  ck_assert_int_gt(size, 0);
  (void)file->pMethods->xClose(file);
  free(file);
  ck_assert_int_eq(vfs->xDelete(vfs, stranger, 0), SQLITE_OK);
  ck_assert(!exists(stranger));
  run(db, "UPDATE t SET a = a + 1"); /* what lies beside it is not its journal */
  close_db(db);
  stock_accepts(path);
}
END_TEST

TCase *vfs_methods_case(void) {
  TCase *methods = tcase_create("methods");
  tcase_set_timeout(methods, 60);
  tcase_add_loop_test(methods, the_header_is_stamped_on_media_only, 0, MEDIA);
  tcase_add_loop_test(methods, an_empty_database_has_a_placeholder, 0, MEDIA);
  tcase_add_loop_test(methods, short_reads_are_filled_with_zeros, 0, MEDIA);
  tcase_add_loop_test(methods, check_reserved_lock_tells_the_truth, 0, MEDIA);
  tcase_add_loop_test(methods, locks_say_what_the_pager_understands, 0, MEDIA);
  tcase_add_loop_test(methods, phasetwo_is_the_commit_point, 0, MEDIA);
  tcase_add_loop_test(methods, a_counter_read_drops_what_is_pending, 0, MEDIA);
  tcase_add_test(methods, a_commit_that_fails_is_rolled_back);
  tcase_add_loop_test(methods, a_full_disk_costs_one_transaction, 0, MEDIA);
  tcase_add_loop_test(methods, file_controls, 0, MEDIA);
  tcase_add_loop_test(methods, has_moved, 0, MEDIA);
  tcase_add_loop_test(methods, a_moved_file_is_not_written, 0, MEDIA);
  tcase_add_loop_test(methods, the_medium_is_the_one_meant, 0, MEDIA);
  tcase_add_loop_test(methods, psow_in_the_uri, 0, MEDIA);
  tcase_add_loop_test(methods, last_error_is_told, 0, MEDIA);
  tcase_add_loop_test(methods, other_files_are_the_parent_s, 0, MEDIA);
  return methods;
}
