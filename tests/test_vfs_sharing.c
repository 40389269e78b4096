/*
** test_vfs_sharing.c - several connections on one database: snapshots, the one
** writer, exclusion, read-only ways in, and the change counter that tells others.
*/
#include "database.h"
#include "test_vfs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------- snapshots -- */

START_TEST(a_reader_keeps_its_snapshot) {
  const char *path = path_on(_i, "two.db");
  sqlite3 *a = open_pmem(path), *b = open_pmem(path);
  run(a, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1, zeroblob(20000))");
  run(b, "BEGIN");
  expect(b, "SELECT a, length(b) FROM t", "1|20000");
  for (int i = 0; i < 20; i++) /* over the same pages and over new ones, then fewer */
    run(a, "UPDATE t SET b = zeroblob(%d); INSERT INTO t VALUES(NULL, zeroblob(9000))", 100 + i * 3000);
  run(a, "PRAGMA incremental_vacuum; DELETE FROM t WHERE a > 3; VACUUM");
  expect(b, "SELECT a, length(b) FROM t", "1|20000");
  integrity(b);
  run(b, "COMMIT");
  expect(b, "SELECT count(*) FROM t", "3");
  close_db(a);
  close_db(b);
  stock_accepts(path);
}
END_TEST

START_TEST(an_overtaken_snapshot_cannot_write) {
  const char *path = path_on(_i, "two.db");
  sqlite3 *a = open_pmem(path), *b = open_pmem(path);
  run(a, "CREATE TABLE t(a)");
  run(b, "BEGIN");
  expect(b, "SELECT count(*) FROM t", "0");
  run(a, "INSERT INTO t VALUES(1)");
  expect_code(b, "INSERT INTO t VALUES(2)", SQLITE_BUSY_SNAPSHOT);
  expect(b, "SELECT count(*) FROM t", "0");
  run(a, "INSERT INTO t VALUES(3)"); /* the loser is in nobody's way */
  expect_code(b, "DELETE FROM t", SQLITE_BUSY_SNAPSHOT);
  run(b, "COMMIT");
  run(b, "INSERT INTO t VALUES(4)");
  expect(a, "SELECT group_concat(a, '+') FROM t", "1+3+4");
  /* After its own commit a connection is not overtaken by it. */
  run(b, "BEGIN IMMEDIATE; INSERT INTO t VALUES(5); COMMIT; BEGIN; SELECT * FROM t; INSERT INTO t VALUES(6); COMMIT");
  close_db(a);
  close_db(b);
  stock_accepts(path);
}
END_TEST

START_TEST(one_writer_at_a_time) {
  const char *path = path_on(_i, "two.db");
  sqlite3 *a = open_pmem(path), *b = open_pmem(path);
  run(a, "CREATE TABLE t(a)");
  run(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1)");
  expect_code(b, "INSERT INTO t VALUES(2)", SQLITE_BUSY);
  expect_code(b, "BEGIN IMMEDIATE", SQLITE_BUSY);
  expect_code(b, "BEGIN EXCLUSIVE", SQLITE_BUSY);
  expect(b, "SELECT count(*) FROM t", "0");
  run(a, "COMMIT; BEGIN EXCLUSIVE; DELETE FROM t");
  expect(b, "SELECT count(*) FROM t", "1"); /* readers do not mind */
  run(a, "ROLLBACK");
  run(b, "INSERT INTO t VALUES(2)");
  expect(a, "SELECT count(*) FROM t", "2");
  close_db(a);
  close_db(b);
  stock_accepts(path);
}
END_TEST

static int count_calls(void *calls, int times) {
  (void)times;
  return ++*(int *)calls % 3 != 0;
}

/* V11: only SQLite itself asks the user's busy handler: three times here. */
START_TEST(the_busy_handler_is_sqlite_s_to_call) {
  const char *path = path_on(_i, "two.db");
  sqlite3 *a = open_pmem(path), *b = open_pmem(path);
  int calls = 0;
  run(a, "CREATE TABLE t(a)");
  (void)sqlite3_busy_handler(b, count_calls, &calls);
  run(a, "BEGIN IMMEDIATE");
  expect_code(b, "BEGIN IMMEDIATE", SQLITE_BUSY);
  ck_assert_int_eq(calls, 3);
  run(a, "COMMIT");
  run(b, "BEGIN; SELECT * FROM t");
  run(a, "INSERT INTO t VALUES(1)");
  expect_code(b, "INSERT INTO t VALUES(2)", SQLITE_BUSY_SNAPSHOT);
  ck_assert_int_eq(calls, 3); /* it will not improve by waiting */
  close_db(a);
  close_db(b);
}
END_TEST

/* -------------------------------------------------------- locking_mode -- */

static void *shared_path;
static void others_are_busy(void *unused) {
  (void)unused;
  sqlite3 *other = open_pmem(shared_path);
  int rc = code_of(other, "INSERT INTO t VALUES(99, 99)");
  (void)sqlite3_close(other);
  _exit(rc == SQLITE_BUSY ? 0 : 1);
}

/* V3, V8: rollbacks after a spill in exclusive mode, where no unlock ends them. */
static void exclusive_round(sqlite3 *db, sqlite3 *other, const char *path, const char *mode) {
  run(db, "PRAGMA journal_mode = %s; DELETE FROM t; INSERT INTO t VALUES(1, 'kept')", mode);
  expect_code(other, "INSERT INTO t VALUES(2, 2)", SQLITE_BUSY);
  shared_path = (void *)(uintptr_t)path;
  ck_assert_int_eq(child_status(in_child(others_are_busy, NULL)), 0);
  const char *spill = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
                      "INSERT INTO t SELECT i, zeroblob(3000) FROM n";
  for (int i = 0; i < 3; i++) {
    run(db, "BEGIN; UPDATE t SET b = 'lost'; %s; DELETE FROM t WHERE a < 20", spill);
    run(db, "ROLLBACK");
    if (i == 1) { /* reading first, or writing at once */
      expect(db, "SELECT * FROM t", "1|kept0");
      integrity(db);
    }
    run(db, "UPDATE t SET b = b || %d", i);
  }
  expect(db, "SELECT * FROM t", "1|kept012");
  integrity(db);
  run(db, "BEGIN; %s; COMMIT", spill);
  expect(db, "SELECT count(*), sum(length(b)) FROM t", "200|597007");
  integrity(db);
}

START_TEST(exclusive_locking_mode) {
  static const char *const modes[] = {"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"};
  const char *path = path_on(_i % MEDIA, "exclusive.db");
  sqlite3 *db = open_pmem(path), *other = open_pmem(path), *stock;
  run(db, "PRAGMA cache_size = 5; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  expect(db, "PRAGMA locking_mode = EXCLUSIVE", "exclusive");
  exclusive_round(db, other, path, modes[_i / MEDIA]);
  expect(db, "PRAGMA locking_mode = NORMAL", "normal");
  expect(db, "SELECT count(*) FROM t", "200"); /* gives the lock up */
  run(other, "DELETE FROM t WHERE a > 5");
  expect(db, "SELECT count(*) FROM t", "5");
  integrity(db);
  run(db, "INSERT INTO t VALUES(6, 'normal')");
  expect(other, "SELECT b FROM t WHERE a = 6", "normal");
  close_db(db);
  close_db(other);
  stock_accepts(path);
  stock = open_stock(path);
  expect(stock, "SELECT count(*) FROM t", "6");
  close_db(stock);
}
END_TEST

/* A reader in exclusive mode that has written nothing keeps writers out all the same. */
START_TEST(exclusive_mode_begins_with_a_read) {
  const char *path = path_on(_i, "exclusive.db");
  sqlite3 *db = open_pmem(path), *other = open_pmem(path);
  run(other, "CREATE TABLE t(a, b)");
  run(db, "PRAGMA locking_mode = EXCLUSIVE");
  expect(db, "SELECT count(*) FROM t", "0");
  expect_code(other, "INSERT INTO t VALUES(1, 1)", SQLITE_BUSY);
  shared_path = (void *)(uintptr_t)path;
  ck_assert_int_eq(child_status(in_child(others_are_busy, NULL)), 0);
  run(db, "INSERT INTO t VALUES(2, 2)");
  expect_code(other, "BEGIN IMMEDIATE", SQLITE_BUSY);
  close_db(db);
  run(other, "INSERT INTO t VALUES(3, 3)");
  close_db(other);
  stock_accepts(path);
}
END_TEST

/* As long as it has only read, others may begin to write, but not commit; and a second one
** may read as well. */
START_TEST(exclusive_readers_hold_commits) {
  const char *path = path_on(_i, "exclusive.db");
  sqlite3 *reader = open_pmem(path), *second = open_pmem(path), *writer = open_pmem(path);
  run(writer, "CREATE TABLE t(a)");
  run(reader, "PRAGMA locking_mode = EXCLUSIVE");
  run(second, "PRAGMA locking_mode = EXCLUSIVE");
  expect(reader, "SELECT count(*) FROM t", "0");
  run(writer, "BEGIN; INSERT INTO t VALUES(1)");
  expect_code(writer, "COMMIT", SQLITE_BUSY);
  expect_code(second, "SELECT * FROM t", SQLITE_BUSY); /* there is a writer */
  expect_code(reader, "INSERT INTO t VALUES(2)", SQLITE_BUSY);
  run(writer, "ROLLBACK");
  expect(second, "SELECT count(*) FROM t", "0");
  expect_code(writer, "BEGIN EXCLUSIVE", SQLITE_BUSY);
  run(writer, "BEGIN IMMEDIATE; ROLLBACK"); /* what was refused has left no lock */
  expect_code(reader, "INSERT INTO t VALUES(2)", SQLITE_BUSY); /* held by the second */
  close_db(second);
  run(reader, "INSERT INTO t VALUES(2)");
  expect_code(writer, "SELECT * FROM t", SQLITE_BUSY);
  run(reader, "PRAGMA locking_mode = NORMAL; SELECT * FROM t");
  run(writer, "INSERT INTO t VALUES(3)");
  expect(reader, "SELECT group_concat(a, '+') FROM t", "2+3");
  close_db(reader);
  close_db(writer);
  stock_accepts(path);
}
END_TEST

static void read_exclusively(void *unused) {
  (void)unused;
  sqlite3 *db = open_pmem(shared_path);
  run(db, "PRAGMA locking_mode = EXCLUSIVE");
  expect(db, "SELECT count(*) FROM t", "0");
}

START_TEST(a_dead_exclusive_reader_holds_nothing) {
  const char *path = path_on(_i, "exclusive.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a)");
  shared_path = (void *)(uintptr_t)path;
  crash_after(read_exclusively, NULL);
  run(db, "INSERT INTO t VALUES(1)");
  close_db(db);
  stock_accepts(path);
}
END_TEST

static int pipe_ends[2];

static void read_until_killed(void *unused) {
  (void)unused;
  sqlite3 *db = open_pmem(shared_path);
  run(db, "BEGIN; SELECT * FROM t");
  if (write(pipe_ends[1], "r", 1) != 1) _exit(1);
  pause();
}

static int external_reader(sqlite3 *db) {
  int reading = 99;
  ck_assert_int_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_EXTERNAL_READER, &reading), SQLITE_OK);
  return reading;
}

START_TEST(readers_of_other_processes_are_told) {
  const char *path = path_on(_i, "read.db");
  char byte;
  sqlite3 *db = open_pmem(path), *here = open_pmem(path);
  ck_assert_int_eq(external_reader(db), 0); /* not attached yet */
  run(db, "CREATE TABLE t(a)");
  run(here, "BEGIN; SELECT * FROM t");
  ck_assert_int_eq(external_reader(db), 0);
  shared_path = (void *)(uintptr_t)path;
  ck_assert_int_eq(pipe(pipe_ends), 0);
  pid_t child = in_child(read_until_killed, NULL);
  ck_assert_int_eq(read(pipe_ends[0], &byte, 1), 1);
  ck_assert_int_eq(external_reader(db), 1);
  kill_child(child);
  ck_assert_int_eq(external_reader(db), 0);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  close_db(here);
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* The pragma without a schema means attached databases too, now and later. */
START_TEST(exclusive_mode_of_attached_databases) {
  const char *path = path_on(_i, "main.db"), *one = path_on(_i, "one.db"), *two = path_on(_i, "two.db");
  sqlite3 *db = open_pmem(path), *other = open_pmem(one);
  run(other, "CREATE TABLE t(a)");
  run(db, "ATTACH 'file:%s?vfs=pmem' AS one; PRAGMA locking_mode = EXCLUSIVE; ATTACH 'file:%s?vfs=pmem' AS two", one, two);
  run(db, "CREATE TABLE two.t(a); INSERT INTO one.t VALUES(1); INSERT INTO two.t VALUES(1)");
  expect_code(other, "INSERT INTO t VALUES(2)", SQLITE_BUSY);
  sqlite3 *third = open_pmem(two);
  expect_code(third, "INSERT INTO t VALUES(2)", SQLITE_BUSY);
  close_db(db);
  run(other, "INSERT INTO t VALUES(2)");
  run(third, "INSERT INTO t VALUES(2)");
  close_db(other);
  close_db(third);
}
END_TEST

/* -------------------------------------------------------- change counter -- */

static uint32_t number_on_media(const char *path, int64_t offset) {
  uint8_t bytes[4];
  raw_read(path, offset, bytes, sizeof bytes);
  return big_endian(bytes);
}

/* Only if its twin agrees does SQLite trust the size that stands in the header. */
static uint32_t counter_on_media(const char *path) {
  uint32_t counter = number_on_media(path, 24);
  ck_assert_uint_eq(number_on_media(path, 92), counter);
  return counter;
}

/* V4, byte for byte on media: after every commit, in every way of committing. */
START_TEST(the_change_counter_only_rises) {
  const char *path = path_on(_i, "counter.db");
  uint32_t last = 0, now;
  for (int life = 0; life < 3; life++) {
    sqlite3 *db = open_pmem(path);
    for (int i = 0; i < 12; i++) {
      if (i == 4) run(db, "PRAGMA locking_mode = EXCLUSIVE");
      if (i == 8) run(db, "PRAGMA locking_mode = NORMAL; SELECT * FROM sqlite_schema");
      run(db, "CREATE TABLE IF NOT EXISTS t(a)");
      if (i == 6) run(db, "BEGIN; INSERT INTO t VALUES(0); ROLLBACK");
      run(db, "INSERT INTO t VALUES(%d)", i);
      now = counter_on_media(path);
      ck_assert_msg(now > last, "life %d, commit %d: %u after %u", life, i, now, last);
      last = now;
    }
    close_db(db);
    now = counter_on_media(path);
    ck_assert_uint_ge(now, last);
    last = now;
    sqlite3 *stock = open_stock(path);
    if (life == 1) run(stock, "INSERT INTO t VALUES(100)"), last++;
    integrity(stock);
    close_db(stock);
  }
}
END_TEST

START_TEST(data_version_tells_others) {
  const char *path = path_on(_i, "version.db");
  sqlite3 *a = open_pmem(path), *b = open_pmem(path);
  run(a, "CREATE TABLE t(a)");
  int64_t mine = number(a, "PRAGMA data_version"), last = number(b, "PRAGMA data_version");
  for (int i = 0; i < 5; i++) {
    run(a, "INSERT INTO t VALUES(%d)", i);
    int64_t now = number(b, "PRAGMA data_version");
    ck_assert_int_ne(now, last);
    ck_assert_int_eq(number(b, "PRAGMA data_version"), now);
    ck_assert_int_eq(number(a, "PRAGMA data_version"), mine); /* not by one's own */
    ck_assert_int_eq(number(b, "SELECT count(*) FROM t"), i + 1);
    last = now;
  }
  run(a, "BEGIN; INSERT INTO t VALUES(7); ROLLBACK");
  ck_assert_int_eq(number(b, "PRAGMA data_version"), last);
  run(a, "PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t VALUES(8); INSERT INTO t VALUES(9);"
         "PRAGMA locking_mode = NORMAL; SELECT * FROM t");
  ck_assert_int_ne(number(b, "PRAGMA data_version"), last);
  expect(b, "SELECT count(*) FROM t", "7");
  close_db(a);
  close_db(b);
}
END_TEST

/* --------------------------------------------------------- other ways in -- */

START_TEST(read_only_on_a_plain_file) {
  const char *path = path_on(_i, "ro.db");
  ck_assert_int_eq(open_code(path, "pmem", "mode=ro"), SQLITE_CANTOPEN);
  ck_assert(!exists(path));
  sqlite3 *db = open_stock(path);
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  close_db(db);
  db = open_with(path, "pmem", "mode=ro");
  expect(db, "SELECT * FROM t", "1");
  only_plain_file(path);
  ck_assert_int_eq(code_of(db, "INSERT INTO t VALUES(2)") & 0xff, SQLITE_READONLY);
  /* Others may come while it reads nothing, not while it reads. */
  run(db, "BEGIN");
  expect(db, "SELECT * FROM t", "1");
  ck_assert_int_eq(open_code(path, "pmem", NULL), SQLITE_BUSY);
  run(db, "COMMIT");
  sqlite3 *writer = open_pmem(path);
  run(writer, "INSERT INTO t VALUES(2)");
  expect(db, "SELECT count(*) FROM t", "2"); /* stamped by now */
  ck_assert_int_eq(code_of(db, "INSERT INTO t VALUES(3)") & 0xff, SQLITE_READONLY);
  close_db(writer);
  expect(db, "SELECT count(*) FROM t", "2");
  close_db(db);
  stock_accepts(path);
}
END_TEST

START_TEST(read_only_on_a_stamped_file) {
  const char *path = path_on(_i, "ro.db");
  sqlite3 *writer = open_pmem(path);
  run(writer, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  sqlite3 *db = open_with(path, "pmem", "mode=ro");
  run(db, "BEGIN");
  expect(db, "SELECT count(*) FROM t", "1");
  run(writer, "INSERT INTO t VALUES(2)");
  expect(db, "SELECT count(*) FROM t", "1");
  run(db, "COMMIT");
  expect(db, "SELECT count(*) FROM t", "2");
  ck_assert_int_eq(code_of(db, "INSERT INTO t VALUES(3)") & 0xff, SQLITE_READONLY);
  close_db(writer);
  expect(db, "SELECT count(*) FROM t", "2");
  close_db(db);
  stock_accepts(path);
}
END_TEST

START_TEST(immutable_pins_one_snapshot) {
  const char *path = path_on(_i, "immutable.db");
  sqlite3 *writer = open_pmem(path);
  run(writer, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  sqlite3 *db = open_with(path, "pmem", "immutable=1");
  expect(db, "SELECT count(*) FROM t", "1");
  run(writer, "INSERT INTO t VALUES(2); UPDATE t SET a = a + 10");
  expect(db, "SELECT * FROM t", "1");
  run(db, "PRAGMA shrink_memory"); /* from media again */
  expect(db, "SELECT * FROM t", "1");
  ck_assert_int_ne(code_of(db, "INSERT INTO t VALUES(3)"), SQLITE_OK);
  close_db(db);
  close_db(writer);
  db = open_with(path, "pmem", "immutable=1"); /* plain: no log is made for it */
  expect(db, "SELECT count(*) FROM t", "2");
  only_plain_file(path);
  ck_assert_int_ne(code_of(db, "INSERT INTO t VALUES(3)"), SQLITE_OK);
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* Without locks the pager never asks for one: the refusal must come from elsewhere,
** or a database that is not there would look like an empty one. */
START_TEST(nolock_is_refused) {
  const char *path = path_on(_i, "nolock.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a)");
  ck_assert_int_eq(open_code(path, "pmem", "nolock=1"), SQLITE_CANTOPEN);
  ck_assert_int_ne(code_of(db, "ATTACH 'file:%s?vfs=pmem&nolock=1' AS n; SELECT * FROM n.sqlite_schema", path), SQLITE_OK);
  close_db(db);
  ck_assert_int_eq(open_code(path, "pmem", "nolock=1"), SQLITE_CANTOPEN);
  ck_assert_int_eq(open_code(path, "pmem", "nolock=0"), SQLITE_OK);
  stock_accepts(path);
}
END_TEST

TCase *vfs_sharing_case(void) {
  TCase *sharing = tcase_create("sharing");
  tcase_set_timeout(sharing, 60);
  tcase_add_loop_test(sharing, a_reader_keeps_its_snapshot, 0, MEDIA);
  tcase_add_loop_test(sharing, an_overtaken_snapshot_cannot_write, 0, MEDIA);
  tcase_add_loop_test(sharing, one_writer_at_a_time, 0, MEDIA);
  tcase_add_loop_test(sharing, the_busy_handler_is_sqlite_s_to_call, 0, MEDIA);
  tcase_add_loop_test(sharing, exclusive_locking_mode, 0, MEDIA * 5);
  tcase_add_loop_test(sharing, exclusive_mode_begins_with_a_read, 0, MEDIA);
  tcase_add_loop_test(sharing, exclusive_readers_hold_commits, 0, MEDIA);
  tcase_add_loop_test(sharing, a_dead_exclusive_reader_holds_nothing, 0, MEDIA);
  tcase_add_loop_test(sharing, readers_of_other_processes_are_told, 0, MEDIA);
  tcase_add_loop_test(sharing, exclusive_mode_of_attached_databases, 0, MEDIA);
  tcase_add_loop_test(sharing, the_change_counter_only_rises, 0, MEDIA);
  tcase_add_loop_test(sharing, data_version_tells_others, 0, MEDIA);
  tcase_add_loop_test(sharing, read_only_on_a_plain_file, 0, MEDIA);
  tcase_add_loop_test(sharing, read_only_on_a_stamped_file, 0, MEDIA);
  tcase_add_loop_test(sharing, immutable_pins_one_snapshot, 0, MEDIA);
  tcase_add_loop_test(sharing, nolock_is_refused, 0, MEDIA);
  return sharing;
}
