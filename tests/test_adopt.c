/*
** test_adopt.c - a database comes under the VFS and leaves it again: from whatever
** stock SQLite left behind, back to a plain file, and through crashes at every step.
** What is refused, and how: test_adopt_refusals.c.
*/
#include "database.h"
#include "steps.h"

#include "../vfs/store/error.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TCase *adopt_refusals_case(void);
TCase *recovery_modes_case(void);

static const char *const journal_modes[] = {"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"};
enum { WITH_JOURNAL = 3, JOURNAL_MODES = 6 };

static const char *fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
                          "INSERT INTO t SELECT NULL, printf('%01000d', i) FROM n";

typedef struct scene {
  const char *path, *journal_mode;
} scene;

/* What stock SQLite has: 200 rows, in this journal mode. */
static sqlite3 *stock_database(const scene *s) {
  sqlite3 *db = open_stock(s->path);
  run(db, "PRAGMA journal_mode = %s; PRAGMA cache_size = 5; CREATE TABLE t(a INTEGER PRIMARY KEY, b); %s",
      s->journal_mode, fill);
  return db;
}

static void rows_are(sqlite3 *db, int rows) {
  integrity(db);
  ck_assert_int_eq(number(db, "SELECT count(*) FROM t WHERE length(b) >= 1000"), rows);
}

/* Opened here with `rows` rows, used, closed: a plain file in rollback mode. */
static void adopts(const char *path, int rows) {
  sqlite3 *db = open_pmem(path);
  rows_are(db, rows);
  run(db, "%s", fill);
  rows_are(db, rows + 200);
  close_db(db);
  stock_accepts(path);
  db = open_stock(path);
  expect(db, "PRAGMA journal_mode", "delete");
  rows_are(db, rows + 200);
  run(db, "DELETE FROM t WHERE a > %d", rows);
  close_db(db);
}

/* --------------------------------------------------- what stock left behind -- */

START_TEST(clean_in_every_journal_mode) {
  scene s = {path_on(_i % MEDIA, "stock.db"), journal_modes[_i / MEDIA]};
  close_db(stock_database(&s));
  bool keeps = strcmp(s.journal_mode, "PERSIST") == 0 || strcmp(s.journal_mode, "TRUNCATE") == 0;
  ck_assert_int_eq(exists(beside(s.path, "-journal")), keeps);
  adopts(s.path, 200);
}
END_TEST

static void die_in_transaction(void *argument) {
  sqlite3 *db = stock_database(argument);
  run(db, "BEGIN; UPDATE t SET b = 'lost'; %s", fill);
}

START_TEST(a_hot_journal_is_rolled_back) {
  scene s = {path_on(_i % MEDIA, "hot.db"), journal_modes[_i / MEDIA]};
  uint8_t first;
  crash_after(die_in_transaction, &s);
  raw_read(beside(s.path, "-journal"), 0, &first, 1);
  ck_assert_uint_eq(first, 0xd9); /* or it is not hot, and this tests nothing */
  adopts(s.path, 200);
}
END_TEST

static void die_with_a_wal(void *argument) {
  sqlite3 *db = stock_database(argument);
  run(db, "PRAGMA wal_autocheckpoint = 0; %s", fill);
  run(db, "BEGIN; DELETE FROM t"); /* not in it */
}

START_TEST(a_wal_is_checkpointed) {
  scene s = {path_on(_i, "wal.db"), "WAL"};
  crash_after(die_with_a_wal, &s);
  ck_assert_int_gt(file_size(beside(s.path, "-wal")), 200000);
  adopts(s.path, 400);
}
END_TEST

START_TEST(no_file_and_an_empty_one) {
  const char *path = path_on(_i, "new.db"), *empty = path_on(_i, "empty.db");
  raw_copy("/dev/null", empty);
  const char *both[] = {path, empty};
  for (int i = 0; i < 2; i++) {
    sqlite3 *db = open_pmem(both[i]);
    run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); %s", fill);
    close_db(db);
    adopts(both[i], 200);
  }
}
END_TEST

/* Byte 19 still says stamped, the life is cleared: the last step of a close. */
START_TEST(an_interrupted_close_is_finished) {
  scene s = {path_on(_i, "half.db"), "DELETE"};
  close_db(stock_database(&s));
  raw_write(s.path, 18, "\1p", 2);
  ck_assert_int_eq(open_code(s.path, "unix", NULL), SQLITE_NOTADB);
  adopts(s.path, 200);
}
END_TEST

/* A file that is no SQLite database is not touched, whatever it is, and the answer is
** stock SQLite's own. */
START_TEST(foreign_files_stay_as_they_are) {
  static const char *const contents[] = {"SQLite format 3", "This is a text of some length, but no database at all."};
  char before[64], after[64];
  for (size_t i = 0; i < 2; i++) {
    const char *path = path_on(_i, "foreign");
    size_t n = strlen(contents[i]);
    raw_copy("/dev/null", path);
    raw_write(path, 0, contents[i], n);
    raw_read(path, 0, before, n);
    ck_assert_int_eq(open_code(path, "pmem", NULL), open_code(path, "unix", NULL));
    ck_assert_int_eq(file_size(path), (int64_t)n);
    raw_read(path, 0, after, n);
    ck_assert_mem_eq(before, after, n);
    only_plain_file(path);
  }
}
END_TEST

/* As a writer leaves it that does not know of the size in the header: to SQLite that size is
** void while the counter's twin says another number, and adoption makes the two equal. */
START_TEST(a_size_that_is_not_valid) {
  static const uint8_t stale[2][4] = {{0, 0, 0, 1}, {0, 1, 0, 0}};
  scene s = {path_on(_i % MEDIA, "old.db"), "DELETE"};
  uint8_t counter[4];
  close_db(stock_database(&s));
  raw_read(s.path, 24, counter, sizeof counter);
  counter[3]++;
  raw_write(s.path, 24, counter, sizeof counter);
  raw_write(s.path, 28, stale[_i / MEDIA], sizeof counter);
  stock_accepts(s.path);
  sqlite3 *db = open_pmem(s.path);
  rows_are(db, 200);
  close_db(db);
  stock_accepts(s.path);
  adopts(s.path, 200);
}
END_TEST

/* SQLite's VFS calls a file of one byte empty, and so must we. */
START_TEST(one_byte_is_an_empty_database) {
  const char *path = path_on(_i, "byte.db");
  raw_copy("/dev/null", path);
  raw_write(path, 0, "x", 1);
  ck_assert_int_eq(open_code(path, "unix", NULL), SQLITE_OK);
  ck_assert_int_eq(open_code(path, "pmem", NULL), SQLITE_OK);
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); %s", fill);
  close_db(db);
  adopts(path, 200);
}
END_TEST

/* -------------------------------------------------------------- stock, open -- */

static void open_and_stop(void *argument) {
  sqlite3 *db = open_stock(argument);
  run(db, "BEGIN; SELECT count(*) FROM t");
  (void)raise(SIGSTOP);
}

static pid_t stopped_child(void (*work)(void *), const char *path) {
  int status;
  pid_t child = in_child(work, (void *)(uintptr_t)path);
  ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
  ck_assert(WIFSTOPPED(status));
  return child;
}

/* In another process, and in this one. */
START_TEST(a_stock_reader_makes_it_busy) {
  scene s = {path_on(_i, "busy.db"), "DELETE"};
  sqlite3 *stock = stock_database(&s);
  pid_t child = stopped_child(open_and_stop, s.path);
  ck_assert_int_eq(open_code(s.path, "pmem", NULL), SQLITE_BUSY);
  kill_child(child);
  run(stock, "BEGIN; SELECT count(*) FROM t");
  ck_assert_int_eq(open_code(s.path, "pmem", NULL), SQLITE_BUSY);
  only_plain_file(s.path);
  run(stock, "COMMIT; BEGIN IMMEDIATE; DELETE FROM t");
  ck_assert_int_eq(open_code(s.path, "pmem", NULL), SQLITE_BUSY);
  run(stock, "ROLLBACK");
  rows_are(stock, 200);
  close_db(stock);
  adopts(s.path, 200);
}
END_TEST

/* SQLite holds SHARED on a WAL-mode file for as long as it is open. */
START_TEST(a_stock_wal_connection_makes_it_busy) {
  scene s = {path_on(_i, "busy.db"), "WAL"};
  sqlite3 *stock = stock_database(&s);
  ck_assert_int_eq(open_code(s.path, "pmem", NULL), SQLITE_BUSY);
  run(stock, "DELETE FROM t WHERE a > 100");
  ck_assert_int_eq(open_code(s.path, "pmem", NULL), SQLITE_BUSY);
  rows_are(stock, 100);
  close_db(stock);
  adopts(s.path, 100);
}
END_TEST

/* It held no lock: it is told, and when the file is plain again it goes on, with nothing
** of what its cache held. */
START_TEST(an_idle_stock_connection_is_told) {
  scene s = {path_on(_i, "idle.db"), "DELETE"};
  sqlite3 *stock = stock_database(&s), *db = open_pmem(s.path);
  rows_are(db, 200);
  run(db, "DELETE FROM t WHERE a > 50");
  ck_assert_int_ne(code_of(stock, "SELECT count(*) FROM t"), SQLITE_OK);
  ck_assert_int_ne(code_of(stock, "DELETE FROM t"), SQLITE_OK);
  rows_are(db, 50);
  close_db(db);
  /* It went through all that without being closed, and goes on. */
  rows_are(stock, 50);
  run(stock, "DELETE FROM t WHERE a > 40");
  close_db(stock);
  adopts(s.path, 40);
}
END_TEST

/* ------------------------------------------------------------------ crashes -- */

static void commit_and_begin(void *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "PRAGMA cache_size = 5; CREATE TABLE t(a INTEGER PRIMARY KEY, b); %s", fill);
  run(db, "BEGIN; UPDATE t SET b = 'lost'; %s", fill);
}

START_TEST(a_crash_keeps_what_was_committed) {
  const char *path = path_on(_i, "crash.db");
  crash_after(commit_and_begin, (void *)(uintptr_t)path);
  ck_assert(exists(beside(path, "-pmlog")));
  for (int i = 0; i < 3; i++) ck_assert_int_eq(open_code(path, "unix", NULL), SQLITE_NOTADB);
  adopts(path, 200);
}
END_TEST

START_TEST(stock_is_refused_while_it_is_open) {
  const char *path = path_on(_i, "open.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); %s", fill);
  ck_assert_int_eq(open_code(path, "unix", NULL), SQLITE_NOTADB);
  sqlite3 *stock = open_stock(path);
  ck_assert_int_ne(code_of(stock, "PRAGMA journal_mode = WAL; CREATE TABLE u(a)"), SQLITE_OK);
  close_db(stock);
  rows_are(db, 200);
  close_db(db);
  adopts(path, 200);
}
END_TEST

/* A journal that somebody put beside a stamped file is not its journal. */
START_TEST(a_stray_journal_beside_a_stamped_file) {
  scene s = {path_on(_i, "stray.db"), "DELETE"}, hot = {path_on(_i, "hot.db"), "DELETE"};
  crash_after(commit_and_begin, (void *)(uintptr_t)s.path);
  crash_after(die_in_transaction, &hot);
  raw_copy(beside(hot.path, "-journal"), beside(s.path, "-journal"));
  adopts(s.path, 200);
}
END_TEST

/* ------------------------------------------------- killed between two steps -- */

static void open_use_close(void *path) {
  step_mark();
  sqlite3 *db = open_pmem(path);
  run(db, "INSERT INTO t VALUES(1000, zeroblob(2000))");
  step_mark();
  run(db, "PRAGMA user_version = 7");
  if (sqlite3_close(db) != SQLITE_OK) _exit(1);
}

/* At every step the file is stamped with its log, or stock SQLite's own; and what was
** acknowledged is there. */
static void killed_at(int n, const char *path, int marks) {
  int stock = open_code(path, "unix", NULL);
  ck_assert_msg(stock == SQLITE_OK || stock == SQLITE_NOTADB, "step %d: stock SQLite says %d", n, stock);
  ck_assert_msg(stock == SQLITE_OK || exists(beside(path, "-pmlog")), "step %d: stamped without a log", n);
  sqlite3 *db = stock == SQLITE_OK && n % 2 ? open_stock(path) : open_pmem(path);
  integrity(db);
  int64_t rows = number(db, "SELECT count(*) FROM t");
  ck_assert_msg(rows == 201 || (rows == 200 && marks < 2), "step %d: %d rows", n, (int)rows);
  close_db(db);
  adopts(path, (int)rows);
}

static void killed_at_every_step_of(const scene *s, void (*before)(void *)) {
  static const char *const suffixes[] = {"", "-journal", "-wal", "-shm", "-pmlog", "-pmshm"};
  bool killed = true;
  int n = 0;
  while (killed) {
    for (int i = 0; i < 6; i++) (void)unlink(beside(s->path, suffixes[i]));
    crash_after(before, (void *)(uintptr_t)s);
    step_result result = kill_at_step(++n, open_use_close, (void *)(uintptr_t)s->path);
    killed = result.killed;
    killed_at(n, s->path, result.marks);
  }
  ck_assert_int_gt(n, 30); /* or the steps were not seen */
}

static void leave_plain(void *argument) { close_db(stock_database(argument)); }

static void leave_stamped(void *argument) {
  const scene *s = argument;
  commit_and_begin((void *)(uintptr_t)s->path);
}

START_TEST(killed_at_every_step_of_adoption_and_close) {
  scene s = {path_on(_i, "plain.db"), "DELETE"};
  killed_at_every_step_of(&s, leave_plain);
}
END_TEST

START_TEST(killed_at_every_step_of_recovery_and_close) {
  scene s = {path_on(_i, "stamped.db"), "DELETE"};
  killed_at_every_step_of(&s, leave_stamped);
}
END_TEST

START_TEST(killed_at_every_step_of_stock_s_recovery) {
  scene s = {path_on(_i, "hot.db"), "DELETE"};
  killed_at_every_step_of(&s, die_in_transaction);
}
END_TEST

/* ------------------------------------------------ a close that is overtaken -- */

static int acknowledged;

static void look_and_close(void *path) {
  sqlite3 *db = open_pmem(path);
  (void)number(db, "SELECT count(*) FROM t");
  step_mark();
  close_db(db);
}

static void insert_and_leave(void *path) {
  sqlite3 *db = NULL;
  int code = sqlite3_open_v2(beside("file:", path), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, "pmem");
  if (code == SQLITE_OK) code = code_of(db, "INSERT INTO t VALUES(NULL, zeroblob(5000))");
  acknowledged += code == SQLITE_OK;
  (void)sqlite3_close(db);
}

/* S2: the last attachment is stopped while it leaves.  Another life begins and ends in
** between, or has to wait for the gate; the one that leaves must not end it again. */
START_TEST(a_life_is_ended_by_its_own_last_attachment) {
  const char *path = path_on(_i, "overtaken.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  close_db(db);
  int before = -1, paused = 0;
  for (int n = 1; before != acknowledged; n++) {
    before = acknowledged;
    paused += pause_at_step(n, look_and_close, (void *)(uintptr_t)path, insert_and_leave);
    db = open_pmem(path);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), acknowledged);
    integrity(db);
    close_db(db);
    stock_accepts(path);
  }
  ck_assert_int_gt(paused, 1);
  ck_assert_int_gt(acknowledged, 0);
}
END_TEST

Suite *adopt_suite(void) {
  Suite *suite = suite_create("adopt");
  TCase *left = tcase_create("left"), *killed = tcase_create("killed");
  tcase_set_tags(killed, "every-step");
  tcase_set_timeout(left, 60);
  tcase_add_loop_test(left, clean_in_every_journal_mode, 0, MEDIA * JOURNAL_MODES);
  tcase_add_loop_test(left, a_hot_journal_is_rolled_back, 0, MEDIA * WITH_JOURNAL);
  tcase_add_loop_test(left, a_wal_is_checkpointed, 0, MEDIA);
  tcase_add_loop_test(left, no_file_and_an_empty_one, 0, MEDIA);
  tcase_add_loop_test(left, an_interrupted_close_is_finished, 0, MEDIA);
  tcase_add_loop_test(left, foreign_files_stay_as_they_are, 0, MEDIA);
  tcase_add_loop_test(left, a_size_that_is_not_valid, 0, MEDIA * 2);
  tcase_add_loop_test(left, one_byte_is_an_empty_database, 0, MEDIA);
  tcase_add_loop_test(left, a_stock_reader_makes_it_busy, 0, MEDIA);
  tcase_add_loop_test(left, a_stock_wal_connection_makes_it_busy, 0, MEDIA);
  tcase_add_loop_test(left, an_idle_stock_connection_is_told, 0, MEDIA);
  tcase_add_loop_test(left, a_crash_keeps_what_was_committed, 0, MEDIA);
  tcase_add_loop_test(left, stock_is_refused_while_it_is_open, 0, MEDIA);
  tcase_add_loop_test(left, a_life_is_ended_by_its_own_last_attachment, 0, MEDIA);
  tcase_add_loop_test(left, a_stray_journal_beside_a_stamped_file, 0, MEDIA);
  suite_add_tcase(suite, left);
  tcase_set_timeout(killed, 300);
  tcase_add_loop_test(killed, killed_at_every_step_of_adoption_and_close, 0, MEDIA);
  tcase_add_loop_test(killed, killed_at_every_step_of_recovery_and_close, 0, MEDIA);
  tcase_add_loop_test(killed, killed_at_every_step_of_stock_s_recovery, 0, MEDIA);
  suite_add_tcase(suite, killed);
  suite_add_tcase(suite, adopt_refusals_case());
  suite_add_tcase(suite, recovery_modes_case());
  return suite;
}
