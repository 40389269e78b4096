/*
** test_vfs_rare.c - methods that SQLite calls seldom, or never in this program: of the journal
** on the heap, of a file that was refused, of one that is none of ours, and of the VFS.
*/
#include "database.h"
#include "test_vfs.h"

#include <stdlib.h>
#include <string.h>

static sqlite3_file *file_of(sqlite3 *db, int which) {
  sqlite3_file *file = NULL;
  ck_assert_int_eq(sqlite3_file_control(db, "main", which, &file), SQLITE_OK);
  ck_assert_ptr_nonnull(file);
  return file;
}

START_TEST(the_journal_on_the_heap) {
  sqlite3_int64 size = 0, less = 0;
  int reserved = -1;
  sqlite3 *db = open_pmem(path_on(_i, "journal.db"));
  run(db, "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, zeroblob(10000)); BEGIN; UPDATE t SET a = 2");
  sqlite3_file *j = file_of(db, SQLITE_FCNTL_JOURNAL_POINTER);
  ck_assert_int_eq(j->pMethods->xLock(j, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
  ck_assert_int_eq(j->pMethods->xCheckReservedLock(j, &reserved), SQLITE_OK);
  ck_assert_int_eq(reserved, 0);
  ck_assert_int_eq(j->pMethods->xUnlock(j, SQLITE_LOCK_NONE), SQLITE_OK);
  ck_assert_int_eq(j->pMethods->xFileControl(j, SQLITE_FCNTL_SIZE_HINT, &size), SQLITE_NOTFOUND);
  ck_assert_int_eq(j->pMethods->xSectorSize(j), 512);
  ck_assert_int_ne(j->pMethods->xDeviceCharacteristics(j) & SQLITE_IOCAP_SAFE_APPEND, 0);
  ck_assert_int_eq(j->pMethods->xFileSize(j, &size), SQLITE_OK);
  ck_assert_int_gt(size, 512);
  ck_assert_int_eq(j->pMethods->xWrite(j, "more", 4, size), SQLITE_OK);
  ck_assert_int_eq(j->pMethods->xTruncate(j, size), SQLITE_OK);
  ck_assert_int_eq(j->pMethods->xFileSize(j, &less), SQLITE_OK);
  ck_assert_int_eq(less, size);
  run(db, "ROLLBACK");
  ck_assert_int_eq(number(db, "SELECT a FROM t"), 1);
  close_db(db);
}
END_TEST

START_TEST(a_refused_file_does_nothing) {
  int reserved = -1;
  const char *path = path_on(_i, "refused.db");
  sqlite3 *db = open_with(path, "pmem", "pmem_bogus=1");
  sqlite3_file *f = file_of(db, SQLITE_FCNTL_FILE_POINTER);
  ck_assert_int_eq(f->pMethods->xWrite(f, "text", 4, 0) & 0xff, SQLITE_IOERR);
  ck_assert_int_eq(f->pMethods->xTruncate(f, 0) & 0xff, SQLITE_IOERR);
  ck_assert_int_eq(f->pMethods->xSync(f, SQLITE_SYNC_NORMAL), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xCheckReservedLock(f, &reserved), SQLITE_OK);
  ck_assert_int_eq(reserved, 0);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_SHARED), SQLITE_CANTOPEN);
  close_db(db);
  ck_assert(!exists(path));
}
END_TEST

/* Neither a database nor empty: the parent VFS serves it, writing included. */
START_TEST(a_foreign_file_is_written_by_the_parent) {
  const char *path = path_on(_i, "foreign");
  char text[16] = "", bytes[1024];
  int reserved = -1;
  void *pointer = bytes;
  volatile void *region = NULL;
  memset(bytes, 'x', sizeof bytes);
  raw_copy("/dev/null", path);
  raw_write(path, 0, bytes, sizeof bytes);
  sqlite3 *db = open_pmem(path);
  sqlite3_file *f = file_of(db, SQLITE_FCNTL_FILE_POINTER);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xCheckReservedLock(f, &reserved), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_RESERVED), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xWrite(f, "written", 8, 100), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xSync(f, SQLITE_SYNC_NORMAL), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xTruncate(f, 600), SQLITE_OK);
  ck_assert_int_gt(f->pMethods->xSectorSize(f), 0);
  ck_assert_int_eq(f->pMethods->xFetch(f, 0, 512, &pointer), SQLITE_OK);
  ck_assert_ptr_null(pointer);
  ck_assert_int_eq(f->pMethods->xUnfetch(f, 0, NULL), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xShmMap(f, 0, 32768, 1, &region), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xShmLock(f, 0, 1, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED), SQLITE_OK);
  f->pMethods->xShmBarrier(f);
  ck_assert_int_eq(f->pMethods->xShmLock(f, 0, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xShmUnmap(f, 1), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xUnlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  close_db(db);
  raw_read(path, 100, text, 8);
  ck_assert_str_eq(text, "written");
  ck_assert_int_eq(file_size(path), 600);
}
END_TEST

/* A plain file for somebody who may only read is the parent's, and stays as it is. */
START_TEST(a_plain_file_for_reading_is_not_written) {
  const char *path = path_on(_i, "plain.db");
  sqlite3 *db = open_stock(path);
  run(db, "CREATE TABLE t(a)");
  close_db(db);
  db = open_with(path, "pmem", "mode=ro");
  sqlite3_file *f = file_of(db, SQLITE_FCNTL_FILE_POINTER);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_RESERVED), SQLITE_READONLY);
  ck_assert_int_eq(f->pMethods->xUnlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  close_db(db);
}
END_TEST

START_TEST(a_size_without_a_lock) {
  sqlite3_int64 size = -1;
  const char *path = path_on(_i, "size.db");
  sqlite3 *db = open_pmem(path);
  sqlite3_file *f = file_of(db, SQLITE_FCNTL_FILE_POINTER);
  ck_assert_int_eq(f->pMethods->xFileSize(f, &size), SQLITE_OK);
  ck_assert_int_eq(size, 0);
  run(db, "CREATE TABLE t(a)");
  ck_assert_int_eq(f->pMethods->xFileSize(f, &size), SQLITE_OK);
  ck_assert_int_eq(size, number(db, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"));
  close_db(db);
}
END_TEST

/* A layer above that puts something else where SQLite's header belongs is told at once. */
START_TEST(only_a_database_is_written) {
  char garbage[4096];
  memset(garbage, 'g', sizeof garbage);
  sqlite3 *db = open_pmem(path_on(_i, "layer.db"));
  run(db, "CREATE TABLE t(a)");
  sqlite3_file *f = file_of(db, SQLITE_FCNTL_FILE_POINTER);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_SHARED), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xLock(f, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
  ck_assert_int_eq(f->pMethods->xWrite(f, garbage, sizeof garbage, 0), SQLITE_IOERR_WRITE);
  ck_assert_int_eq(f->pMethods->xUnlock(f, SQLITE_LOCK_NONE), SQLITE_OK);
  integrity(db);
  close_db(db);
}
END_TEST

START_TEST(the_rest_of_the_vfs) {
  double day = 0;
  sqlite3_int64 ms = 0;
  char said[256] = "";
  sqlite3 *db = open_pmem(path_on(_i, "rest.db"));
  run(db, "CREATE TABLE t(a)");
  sqlite3_vfs *vfs = sqlite3_vfs_find("pmem");
  ck_assert_int_eq(vfs->xCurrentTime(vfs, &day), SQLITE_OK);
  ck_assert_int_eq(vfs->xCurrentTimeInt64(vfs, &ms), SQLITE_OK);
  ck_assert(day > 2400000 && (double)ms / 86400000 - day < 1);
  ck_assert_ptr_null(vfs->xDlOpen(vfs, "/there/is/no/such/library"));
  vfs->xDlError(vfs, (int)sizeof said, said);
  ck_assert_msg(strstr(said, "such") != NULL, "%s", said);
  void *library = vfs->xDlOpen(vfs, "libsqlite3.so.0");
  ck_assert_ptr_nonnull(library);
  ck_assert(vfs->xDlSym(vfs, library, "sqlite3_open") != NULL);
  vfs->xDlClose(vfs, library);
  /* It has a log of its own, and no WAL can be opened beside it. */
  sqlite3_file *file = calloc(1, (size_t)vfs->szOsFile);
  const char *wal = sqlite3_filename_wal(sqlite3_db_filename(db, "main"));
  ck_assert_int_eq(vfs->xOpen(vfs, wal, file, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_WAL, NULL), SQLITE_CANTOPEN);
  ck_assert_ptr_null(file->pMethods);
  free(file);
  close_db(db);
}
END_TEST

TCase *vfs_rare_case(void) {
  TCase *rare = tcase_create("rare");
  tcase_set_timeout(rare, 60);
  tcase_add_loop_test(rare, the_journal_on_the_heap, 0, MEDIA);
  tcase_add_loop_test(rare, a_refused_file_does_nothing, 0, MEDIA);
  tcase_add_loop_test(rare, a_foreign_file_is_written_by_the_parent, 0, MEDIA);
  tcase_add_loop_test(rare, a_plain_file_for_reading_is_not_written, 0, MEDIA);
  tcase_add_loop_test(rare, a_size_without_a_lock, 0, MEDIA);
  tcase_add_loop_test(rare, only_a_database_is_written, 0, MEDIA);
  tcase_add_loop_test(rare, the_rest_of_the_vfs, 0, MEDIA);
  return rare;
}
