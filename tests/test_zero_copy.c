/*
** test_zero_copy.c - reads in place (S14, V9): only for who asked, only while nobody
** else can change what the pointers show.
*/
#include "database.h"

#include <string.h>

#define MMAP "PRAGMA mmap_size=1000000000"

static const char *filled(int medium) {
  const char *path = path_on(medium, "zero.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  run(db, "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
          "INSERT INTO t SELECT i, hex(randomblob(100)) FROM n");
  close_db(db);
  return path;
}

static sqlite3_file *file_of(sqlite3 *db) {
  sqlite3_file *file = NULL;
  ck_assert_int_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
  return file;
}

/* What xFetch gives for a block, handed back at once. */
static const void *fetch(sqlite3 *db, sqlite3_int64 offset, int n) {
  sqlite3_file *file = file_of(db);
  void *at = NULL;
  ck_assert_int_eq(file->pMethods->xFetch(file, offset, n, &at), SQLITE_OK);
  ck_assert_int_eq(file->pMethods->xUnfetch(file, offset, at), SQLITE_OK);
  return at;
}

START_TEST(off_unless_asked_for) {
  sqlite3 *db = open_pmem(filled(_i));
  run(db, "BEGIN; SELECT count(*) FROM t");
  ck_assert_ptr_null(fetch(db, 8192, 4096));
  run(db, "COMMIT; " MMAP "; BEGIN; SELECT count(*) FROM t");
  ck_assert_ptr_nonnull(fetch(db, 8192, 4096));
  run(db, "COMMIT; PRAGMA mmap_size=0; BEGIN; SELECT count(*) FROM t");
  ck_assert_ptr_null(fetch(db, 8192, 4096));
  run(db, "COMMIT");
  close_db(db);
}
END_TEST

/* Page 1 is stamped on media: in place it is not what SQLite may see. */
START_TEST(shows_what_a_read_shows) {
  sqlite3 *db = open_pmem(filled(_i));
  char copy[4096];
  run(db, MMAP "; BEGIN; SELECT count(*) FROM t");
  sqlite3_file *file = file_of(db);
  ck_assert_ptr_null(fetch(db, 0, 4096));
  const void *at = fetch(db, 12288, 4096);
  ck_assert_int_eq(file->pMethods->xRead(file, copy, sizeof copy, 12288), SQLITE_OK);
  ck_assert_mem_eq(at, copy, sizeof copy);
  sqlite3_int64 size;
  ck_assert_int_eq(file->pMethods->xFileSize(file, &size), SQLITE_OK);
  ck_assert_ptr_null(fetch(db, size - 2048, 4096));
  run(db, "COMMIT");
  close_db(db);
}
END_TEST

START_TEST(not_without_a_snapshot) {
  sqlite3 *db = open_pmem(filled(_i));
  run(db, MMAP "; SELECT count(*) FROM t");
  ck_assert_ptr_null(fetch(db, 8192, 4096));
  close_db(db);
}
END_TEST

/* What the transaction has spilled is newer than what lies in place. */
START_TEST(not_what_the_transaction_wrote) {
  sqlite3 *db = open_pmem(filled(_i));
  run(db, MMAP "; PRAGMA cache_size=5; BEGIN");
  ck_assert_ptr_nonnull((run(db, "SELECT count(*) FROM t"), fetch(db, 8192, 4096)));
  run(db, "UPDATE t SET b = 'new'");
  ck_assert_ptr_null(fetch(db, 8192, 4096));
  expect(db, "SELECT count(*) FROM t WHERE b = 'new'", "2000");
  run(db, "ROLLBACK");
  expect(db, "SELECT count(*) FROM t WHERE b = 'new'", "0");
  integrity(db);
  close_db(db);
}
END_TEST

/* A second attachment: its first commit waits for a snapshot with pointers, bounded,
** and later snapshots copy. */
START_TEST(a_writer_waits_for_pointers_once) {
  const char *path = filled(_i);
  sqlite3 *reader = open_pmem(path);
  run(reader, MMAP "; BEGIN; SELECT count(*) FROM t");
  const void *at = fetch(reader, 8192, 4096);
  char before[4096];
  ck_assert_ptr_nonnull(at);
  memcpy(before, at, sizeof before);
  sqlite3 *writer = open_pmem(path);
  ck_assert_int_eq(code_of(writer, "UPDATE t SET b = 'changed'") & 0xff, SQLITE_BUSY);
  ck_assert_mem_eq(at, before, sizeof before);
  run(reader, "COMMIT; BEGIN; SELECT count(*) FROM t");
  ck_assert_ptr_null(fetch(reader, 8192, 4096));
  run(writer, "UPDATE t SET b = 'changed'");
  expect(reader, "SELECT count(*) FROM t WHERE b = 'changed'", "0");
  run(reader, "COMMIT");
  expect(reader, "SELECT count(*) FROM t WHERE b = 'changed'", "2000");
  close_db(writer);
  run(reader, "BEGIN; SELECT count(*) FROM t");
  ck_assert_ptr_nonnull(fetch(reader, 8192, 4096));
  run(reader, "COMMIT");
  integrity(reader);
  close_db(reader);
}
END_TEST

static void die_with_pointers(void *path) {
  sqlite3 *db = open_pmem(path);
  run(db, MMAP "; BEGIN; SELECT count(*) FROM t");
  ck_assert_ptr_nonnull(fetch(db, 8192, 4096));
}

START_TEST(a_dead_reader_holds_nothing) {
  const char *path = filled(_i);
  sqlite3 *db = open_pmem(path);
  crash_after(die_with_pointers, (void *)(uintptr_t)path);
  run(db, "UPDATE t SET b = 'changed'");
  expect(db, "SELECT count(*) FROM t WHERE b = 'changed'", "2000");
  close_db(db);
}
END_TEST

/* V9: the limit stays while SQLite holds a pointer. */
START_TEST(the_limit_stays_while_pointers_are_out) {
  sqlite3 *db = open_pmem(filled(_i));
  run(db, MMAP "; BEGIN; SELECT count(*) FROM t");
  sqlite3_file *file = file_of(db);
  void *at;
  sqlite3_int64 limit = 0;
  ck_assert_int_eq(file->pMethods->xFetch(file, 8192, 4096, &at), SQLITE_OK);
  ck_assert_ptr_nonnull(at);
  ck_assert_int_eq(file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &limit), SQLITE_OK);
  limit = -1;
  ck_assert_int_eq(file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &limit), SQLITE_OK);
  ck_assert_int_eq(limit, 1000000000);
  ck_assert_int_eq(file->pMethods->xUnfetch(file, 8192, at), SQLITE_OK);
  run(db, "COMMIT");
  close_db(db);
}
END_TEST

Suite *zero_copy_suite(void) {
  Suite *suite = suite_create("zero copy");
  TCase *all = tcase_create("zero copy");
  tcase_set_timeout(all, 60);
  tcase_add_loop_test(all, off_unless_asked_for, 0, MEDIA);
  tcase_add_loop_test(all, shows_what_a_read_shows, 0, MEDIA);
  tcase_add_loop_test(all, not_without_a_snapshot, 0, MEDIA);
  tcase_add_loop_test(all, not_what_the_transaction_wrote, 0, MEDIA);
  tcase_add_loop_test(all, a_writer_waits_for_pointers_once, 0, MEDIA);
  tcase_add_loop_test(all, a_dead_reader_holds_nothing, 0, MEDIA);
  tcase_add_loop_test(all, the_limit_stays_while_pointers_are_out, 0, MEDIA);
  suite_add_tcase(suite, all);
  return suite;
}
