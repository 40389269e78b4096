/*
** test_growth.c - space that is taken and given back: data file, log, version table.
*/
#include "database.h"

#include <sys/stat.h>
#include <unistd.h>

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define FILL "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t SELECT i, zeroblob(1000) FROM n"

/* Bytes that the file system holds for it, holes not counted. */
static int64_t space_of(const char *path) {
  struct stat status;
  ck_assert_int_eq(stat(path, &status), 0);
  return (int64_t)status.st_blocks * 512;
}

static sqlite3 *with_table(const char *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "PRAGMA auto_vacuum=FULL; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  return db;
}

/* More than the write set keeps in memory, and all of it taken back in the end. */
START_TEST(log_shrinks_after_a_large_transaction) {
  const char *path = path_on(_i, "large.db");
  sqlite3 *db = with_table(path);
  run(db, "PRAGMA cache_size=10; BEGIN");
  run(db, FILL, 60000);
  ck_assert_int_gt(file_size(beside(path, "-pmlog")), 19 * MIB);
  run(db, "DELETE FROM t; COMMIT");
  ck_assert_int_lt(file_size(beside(path, "-pmlog")), 11 * MIB);
  ck_assert_int_lt(file_size(path), MIB);
  integrity(db);
  close_db(db);
  stock_accepts(path);
}
END_TEST

START_TEST(data_shrinks_when_alone) {
  const char *path = path_on(_i, "alone.db");
  sqlite3 *db = with_table(path);
  run(db, FILL, 20000);
  ck_assert_int_gt(file_size(path), 19 * MIB);
  run(db, "DELETE FROM t WHERE a > 100; VACUUM");
  ck_assert_int_lt(file_size(path), MIB);
  run(db, "DELETE FROM t");
  run(db, FILL, 20000);
  expect(db, "SELECT count(*), sum(length(b)) FROM t", "20000|20000000");
  integrity(db);
  close_db(db);
  stock_accepts(path);
}
END_TEST

static void read_and_stay(void *path) {
  sqlite3 *db = open_pmem(path);
  (void)number(db, "SELECT count(*) FROM t");
  for (;;) (void)pause();
}

/* S22: another process has the file mapped, so it is not cut, and its pages go. */
START_TEST(data_is_punched_when_others_are_attached) {
  const char *path = path_on(_i, "shared.db");
  sqlite3 *db = with_table(path);
  run(db, FILL, 20000);
  pid_t other = in_child(read_and_stay, (void *)(uintptr_t)path);
  for (int i = 0; i < 200; i++) (void)usleep(1000);
  run(db, "DELETE FROM t WHERE a > 100; VACUUM");
  ck_assert_int_gt(file_size(path), 19 * MIB);
  ck_assert_int_lt(space_of(path), 2 * MIB);
  run(db, "DELETE FROM t");
  run(db, FILL, 20000);
  ck_assert_int_gt(space_of(path), 19 * MIB);
  integrity(db);
  kill_child(other);
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* Snapshots come and go while one stays: what only they needed must go with them. */
START_TEST(images_do_not_pile_up_behind_an_old_snapshot) {
  const char *path = path_on(_i, "images.db");
  sqlite3 *writer = with_table(path), *old = open_pmem(path), *young = open_pmem(path);
  run(writer, FILL, 2000);
  run(old, "BEGIN");
  expect(old, "SELECT sum(length(b)) FROM t", "2000000");
  int commits = _i == ON_PMEM ? 20000 : 4000;
  for (int i = 0; i < commits; i++) {
    run(young, "BEGIN; SELECT count(*) FROM t WHERE a < 10");
    run(writer, "UPDATE t SET b = zeroblob(%d) WHERE a = %d", 900 + (i + i / 2000) % 100, i * 7 % 2000 + 1);
    run(young, "COMMIT");
  }
  /* Two blocks a commit: without the sweep this would be 8 KiB of images each. */
  ck_assert_int_lt(file_size(beside(path, "-pmshm")), commits * 8 * KIB / 2);
  ck_assert_int_lt(file_size(beside(path, "-pmshm")), 24 * MIB);
  expect(old, "SELECT sum(length(b)) FROM t", "2000000");
  run(old, "COMMIT");
  integrity(writer);
  close_db(old);
  close_db(young);
  close_db(writer);
}
END_TEST

/* V7: past 64 MiB the rollback journal moves from the heap to a temporary file.  A
** savepoint is rolled back from it; the whole transaction would be without. */
START_TEST(a_large_journal_is_read_back) {
  const char *path = path_on(ON_PMEM, "journal.db");
  sqlite3 *db = with_table(path);
  run(db, FILL, 90000);
  run(db, "PRAGMA cache_size=100; BEGIN; SAVEPOINT s; UPDATE t SET b = randomblob(1000)");
  expect(db, "SELECT sum(b = zeroblob(1000)) FROM t", "0");
  run(db, "ROLLBACK TO s; COMMIT");
  expect(db, "SELECT count(*), sum(b = zeroblob(1000)) FROM t", "90000|90000");
  integrity(db);
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* By a foreign hand: the close says so, keeps the log, and nobody gets a SIGBUS. */
START_TEST(a_file_shortened_while_open_is_noticed_at_the_close) {
  const char *path = path_on(_i, "short.db");
  sqlite3 *db = with_table(path);
  run(db, FILL, 1000);
  ck_assert_int_eq(truncate(path, 8192), 0);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
  ck_assert(exists(beside(path, "-pmlog")));
}
END_TEST

Suite *growth_suite(void) {
  Suite *suite = suite_create("growth");
  TCase *all = tcase_create("growth");
  tcase_set_timeout(all, 120);
  tcase_add_loop_test(all, log_shrinks_after_a_large_transaction, 0, MEDIA);
  tcase_add_loop_test(all, data_shrinks_when_alone, 0, MEDIA);
  tcase_add_loop_test(all, data_is_punched_when_others_are_attached, 0, MEDIA);
  tcase_add_loop_test(all, images_do_not_pile_up_behind_an_old_snapshot, 0, MEDIA);
  tcase_add_test(all, a_large_journal_is_read_back);
  tcase_add_loop_test(all, a_file_shortened_while_open_is_noticed_at_the_close, 0, MEDIA);
  suite_add_tcase(suite, all);
  return suite;
}
