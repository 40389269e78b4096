/*
** test_pmemkv_sharing.c - several connections, threads and processes on one store: first
** committer wins, what serializable adds, and who sees which snapshot.
*/
#define _GNU_SOURCE
#include "database.h"
#include "fixture.h"
#include "test_pmemkv.h"

#include "../ext/kv/table.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A connection in memory with the table t on that store. */
static sqlite3 *open_kv(const char *store, const char *options) {
  sqlite3 *db;
  x_ok(sqlite3_open(":memory:", &db));
  x_ok(spm_table_register(db));
  x_ok(sqlite3_extended_result_codes(db, 1));
  run(db, "CREATE VIRTUAL TABLE t USING pmemkv(path='%s'%s)", store, options);
  return db;
}

static void refused_for(sqlite3 *db, const char *sql, int code, const char *text_in_message) {
  expect_code(db, sql, code);
  ck_assert_msg(strstr(sqlite3_errmsg(db), text_in_message) != NULL, "[%s] does not say [%s]", sqlite3_errmsg(db), text_in_message);
}

typedef struct pair { sqlite3 *a, *b; } pair;

static pair open_pair(const char *options) {
  const char *store = pmem_path("s.kv");
  pair p = {open_kv(store, options), open_kv(store, options)};
  run(p.a, "INSERT INTO t VALUES(1, 10), (2, 20), ('k', 'v')");
  return p;
}

static sqlite3_stmt *start_scan(sqlite3 *db) {
  sqlite3_stmt *s;
  x_ok(sqlite3_prepare_v2(db, "SELECT key, value FROM t ORDER BY key", -1, &s, NULL));
  ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
  return s;
}

static void close_pair(pair p) {
  close_db(p.a);
  close_db(p.b);
}

/* ------------------------------------------------------- first committer wins -- */

START_TEST(first_committer_wins) {
  static const char *const first[] = {"UPDATE t SET value = 11 WHERE key = 1", "DELETE FROM t WHERE key = 1",
                                      "INSERT INTO t VALUES(3, 'a')", "UPDATE t SET key = 9 WHERE key = 1"};
  static const char *const second[] = {"UPDATE t SET value = 12 WHERE key = 1", "UPDATE t SET value = 12 WHERE key = 1",
                                       "INSERT INTO t VALUES(3.0, 'b')", "INSERT INTO t VALUES(9, 'b')"};
  static const char *const named[] = {"key 1 of table t", "key 1 of table t", "key 3 of table t", "key 9 of table t"};
  pair p = open_pair("");
  run(p.a, "BEGIN; %s", first[_i]);
  run(p.b, "BEGIN; %s", second[_i]);
  run(p.a, "COMMIT");
  refused_for(p.b, "COMMIT", SQLITE_BUSY_SNAPSHOT, named[_i]);
  /* The loser is out of its transaction, has left nothing, and sees the winner's. */
  ck_assert_int_eq(sqlite3_get_autocommit(p.b), 1);
  same_rows(p.a, p.b, "SELECT * FROM t ORDER BY key");
  run(p.b, "INSERT OR REPLACE INTO t VALUES(1, 13)");
  expect(p.a, "SELECT value FROM t WHERE key = 1", "13");
  close_pair(p);
}
END_TEST

/* Different keys do not get into each other's way, and neither did what is there again. */
START_TEST(other_keys_are_no_conflict) {
  pair p = open_pair("");
  run(p.a, "BEGIN; UPDATE t SET value = 11 WHERE key = 1");
  run(p.b, "BEGIN; UPDATE t SET value = 22 WHERE key = 2");
  run(p.a, "COMMIT");
  expect(p.b, "SELECT value FROM t WHERE key = 1", "10"); /* its own snapshot still */
  run(p.b, "COMMIT");
  expect(p.a, "SELECT value FROM t ORDER BY key", "11 22 v");
  run(p.b, "BEGIN; UPDATE t SET value = 0 WHERE key = 1; ROLLBACK");
  run(p.b, "BEGIN; UPDATE t SET value = 12 WHERE key = 1");
  run(p.a, "UPDATE t SET value = 0 WHERE key = 1");
  run(p.a, "UPDATE t SET value = 11 WHERE key = 1");
  run(p.b, "COMMIT");
  expect(p.a, "SELECT value FROM t WHERE key = 1", "12");
  close_pair(p);
}
END_TEST

/* Values that are runs of blocks are compared too. */
START_TEST(large_values_conflict) {
  pair p = open_pair("");
  run(p.a, "INSERT INTO t VALUES('big', zeroblob(100000)), ('same', zeroblob(50000))");
  run(p.b, "BEGIN; UPDATE t SET value = 1 WHERE key IN ('big', 'same')");
  run(p.a, "UPDATE t SET value = zeroblob(50000) WHERE key = 'same'");
  run(p.b, "COMMIT; UPDATE t SET value = zeroblob(100000)");
  run(p.b, "BEGIN; UPDATE t SET value = 1 WHERE key = 'big'");
  run(p.a, "UPDATE t SET value = CAST(substr(value, 1, 70000) || x'01' || substr(value, 70002) AS BLOB) WHERE key = 'big'");
  refused_for(p.b, "COMMIT", SQLITE_BUSY_SNAPSHOT, "key 'big' of table t");
  close_pair(p);
}
END_TEST

/* A statement that failed and one that was taken back have written nothing. */
START_TEST(what_was_taken_back_does_not_conflict) {
  pair p = open_pair("");
  run(p.a, "BEGIN; UPDATE t SET value = 'mine' WHERE key = 2; SAVEPOINT s; UPDATE t SET value = 0 WHERE key = 1; ROLLBACK TO s");
  expect_code(p.a, "UPDATE t SET key = 2 WHERE key < 3", SQLITE_CONSTRAINT_PRIMARYKEY);
  run(p.b, "UPDATE t SET value = 11 WHERE key = 1");
  run(p.a, "COMMIT");
  expect(p.b, "SELECT * FROM t ORDER BY key", "1|11 2|mine k|v");
  close_pair(p);
}
END_TEST

/* ------------------------------------------------------------- serializable -- */

/* Both look at both, and each writes the other one: no serial order gives that.  (The
** first write begins the transaction: hence the rows of their own.) */
static void write_skew(pair p) {
  run(p.a, "BEGIN; INSERT INTO t VALUES('a', 0)");
  run(p.b, "BEGIN; INSERT INTO t VALUES('b', 0)");
  expect(p.a, "SELECT sum(value) FROM t WHERE key IN (1, 2)", "30");
  expect(p.b, "SELECT value FROM t WHERE key = 1", "10");
  expect(p.b, "SELECT value FROM t WHERE key = 2", "20");
  run(p.a, "UPDATE t SET value = 0 WHERE key = 1; COMMIT");
  run(p.b, "UPDATE t SET value = 0 WHERE key = 2");
}

START_TEST(write_skew_is_caught) {
  pair p = open_pair(", isolation=serializable");
  write_skew(p);
  refused_for(p.b, "COMMIT", SQLITE_BUSY_SNAPSHOT, "key 1 of table t");
  expect(p.a, "SELECT value FROM t WHERE key < 3 ORDER BY key", "0 20");
  close_pair(p);
}
END_TEST

START_TEST(write_skew_passes_under_snapshot) {
  pair p = open_pair(", isolation=snapshot");
  write_skew(p);
  run(p.b, "COMMIT");
  expect(p.a, "SELECT value FROM t WHERE key < 3 ORDER BY key", "0 0");
  close_pair(p);
}
END_TEST

static const char *const looks[] = {
    "SELECT count(*) FROM t WHERE key > 4 AND key < 8", "SELECT count(*) FROM t WHERE key BETWEEN 4 AND 7",
    "SELECT count(*) FROM t WHERE key IN (5, 6, 7)", "SELECT count(*) FROM t", "SELECT count(*) FROM t WHERE key >= 5 ORDER BY key DESC",
    "SELECT count(*) FROM t WHERE key = 6", "SELECT count(*) FROM t WHERE value = 'v' OR key > 100"};

/* Who counted rows is refused when one has come, or gone, where it looked. */
START_TEST(phantoms_are_caught) {
  for (int serializable = 0; serializable < 2; serializable++) {
    pair p = open_pair(serializable ? ", isolation='serializable'" : "");
    run(p.a, "BEGIN; INSERT INTO t VALUES('a', 0)");
    (void)text(p.a, looks[_i]);
    run(p.b, "INSERT INTO t VALUES(6, 'phantom')");
    if (serializable)
      refused_for(p.a, "COMMIT", SQLITE_BUSY_SNAPSHOT, "key 6 of table t");
    else
      run(p.a, "COMMIT");
    run(p.a, "BEGIN; INSERT INTO t VALUES('b', 0)");
    (void)text(p.a, looks[_i]);
    run(p.b, "DELETE FROM t WHERE key = 6");
    if (serializable)
      refused_for(p.a, "COMMIT", SQLITE_BUSY_SNAPSHOT, "key 6 of table t");
    else
      run(p.a, "COMMIT");
    run(p.a, "DELETE FROM t");
    close_pair(p);
  }
}
END_TEST

/* What lies outside of the ranges read is nobody's business; a key that was found to be
** taken has been read. */
START_TEST(only_what_was_read_counts) {
  pair p = open_pair(", isolation=serializable");
  run(p.a, "BEGIN; INSERT INTO t VALUES('a', 0)");
  expect(p.a, "SELECT count(*) FROM t WHERE key > 1 AND key < 5", "1");
  run(p.b, "INSERT INTO t VALUES(5, 0), (7, 0); UPDATE t SET value = 0 WHERE key = 1");
  run(p.a, "COMMIT; BEGIN; INSERT OR IGNORE INTO t VALUES(7, 'mine'), ('b', 0)");
  run(p.b, "DELETE FROM t WHERE key = 7");
  refused_for(p.a, "COMMIT", SQLITE_BUSY_SNAPSHOT, "key 7 of table t");
  close_pair(p);
}
END_TEST

/* A queue: who takes the first job has read up to it, and not what is put behind it. */
START_TEST(a_scan_that_stops_early_has_read_so_much) {
  static const char *const take[] = {"SELECT key FROM t WHERE key >= 100 ORDER BY key LIMIT 1", "SELECT min(key) FROM t WHERE key >= 100",
                                     "SELECT key FROM t WHERE key >= 100 AND key < 103 ORDER BY key LIMIT 1",
                                     "SELECT key FROM t WHERE key IN (99, 101, 105, 106) ORDER BY key LIMIT 1"};
  pair p = open_pair(", isolation=serializable");
  run(p.a, "INSERT INTO t VALUES(101, 'job'), (102, 'job'), (105, 'job')");
  run(p.a, "BEGIN; INSERT INTO t VALUES('taken', 0)");
  expect(p.a, take[_i], "101");
  run(p.b, "INSERT INTO t VALUES(103, 'job'), (106, 'job')");
  run(p.a, "DELETE FROM t WHERE key = 101; COMMIT");
  /* And from the other end. */
  run(p.a, "BEGIN; INSERT INTO t VALUES('again', 0)");
  expect(p.a, "SELECT key FROM t WHERE key > 0 AND key < 200 ORDER BY key DESC LIMIT 1 OFFSET 1", "105");
  run(p.b, "DELETE FROM t WHERE key = 103");
  run(p.a, "COMMIT; BEGIN; INSERT INTO t VALUES('more', 0)");
  expect(p.a, "SELECT key FROM t WHERE key > 0 AND key < 200 ORDER BY key DESC LIMIT 1 OFFSET 1", "105");
  run(p.b, "INSERT INTO t VALUES(105.5, 'before it')");
  refused_for(p.a, "COMMIT", SQLITE_BUSY_SNAPSHOT, "key 105.5 of table t");
  /* A scan that is still open at COMMIT counts, as far as it has come. */
  for (int i = 0; i < 2; i++) {
    run(p.a, "BEGIN; INSERT INTO t VALUES('open%d', 0)", i);
    sqlite3_stmt *s = start_scan(p.a);
    run(p.b, i == 0 ? "UPDATE t SET value = 0 WHERE key = 106" : "UPDATE t SET value = 0 WHERE key = 1");
    if (i == 0)
      run(p.a, "COMMIT");
    else
      refused_for(p.a, "COMMIT", SQLITE_BUSY_SNAPSHOT, "key 1 of table t");
    (void)sqlite3_finalize(s);
  }
  close_pair(p);
}
END_TEST

/* Many reads are joined and still all there. */
START_TEST(many_reads_are_remembered) {
  pair p = open_pair(", isolation=serializable");
  run(p.a, "WITH RECURSIVE c(i) AS (VALUES(1000) UNION ALL SELECT i + 1 FROM c WHERE i < 2999) INSERT INTO t SELECT i, 0 FROM c");
  for (int i = 0; i < 2; i++) {
    run(p.a, "BEGIN; INSERT INTO t VALUES('a%d', 0)", i);
    expect(p.a, "SELECT count(*) FROM (SELECT 2999 - 2 * (key - 1000) AS k FROM t WHERE key BETWEEN 1000 AND 1499) a "
                "CROSS JOIN t ON t.key = a.k OR t.key = a.k + 1", "999");
    run(p.b, i == 0 ? "UPDATE t SET value = value + 1 WHERE key = 2600" : "UPDATE t SET value = value + 1 WHERE key = 2601");
    ck_assert_int_eq(code_of(p.a, "COMMIT"), SQLITE_BUSY_SNAPSHOT);
  }
  close_pair(p);
}
END_TEST

/* --------------------------------------------------------------- snapshots -- */

static unsigned rest_of_scan(sqlite3_stmt *s, unsigned *sum) {
  unsigned rows = 1;
  *sum = (unsigned)sqlite3_column_int(s, 1);
  int rc;
  for (; (rc = sqlite3_step(s)) == SQLITE_ROW; rows++) *sum += (unsigned)sqlite3_column_int(s, 1);
  ck_assert_int_eq(rc, SQLITE_DONE);
  x_ok(sqlite3_finalize(s));
  return rows;
}

/* A scan that is open shows what it began with, whoever commits meanwhile; statements
** that begin later show what is there. */
START_TEST(open_scans_keep_their_snapshot) {
  pair p = open_pair("");
  unsigned sum;
  sqlite3_stmt *first = start_scan(p.a);
  run(p.b, "INSERT INTO t VALUES(3, 100); UPDATE t SET value = 1000 WHERE key = 2");
  run(p.a, "INSERT INTO t VALUES(4, 100); DELETE FROM t WHERE key = 'k'");
  expect(p.a, "SELECT count(*), sum(value) FROM t", "4|1210");
  sqlite3_stmt *second = start_scan(p.a);
  run(p.a, "BEGIN; DELETE FROM t");
  expect(p.a, "SELECT count(*) FROM t", "0");
  sqlite3_stmt *third = start_scan(p.b);
  run(p.a, "COMMIT");
  expect(p.b, "SELECT count(*) FROM t", "4"); /* SQLite's reads share a snapshot while one is open */
  ck_assert_uint_eq(rest_of_scan(first, &sum), 3);
  ck_assert_uint_eq(sum, 30);
  ck_assert_uint_eq(rest_of_scan(second, &sum), 4);
  ck_assert_uint_eq(sum, 1210);
  ck_assert_uint_eq(rest_of_scan(third, &sum), 4);
  ck_assert_uint_eq(sum, 1210);
  expect(p.b, "SELECT count(*) FROM t", "0");
  close_pair(p);
}
END_TEST

/* ------------------------------------------------------------------- crowds -- */

#define ACCOUNTS 8
#define BALANCE 100

static void make_bank(const char *store) {
  sqlite3 *db = open_kv(store, "");
  for (int i = 0; i < ACCOUNTS; i++) run(db, "INSERT INTO t VALUES('account:%d', %d)", i, BALANCE);
  close_db(db);
}

/* Any failure but a conflict or a busy store ends the process, or the test. */
static int try_transfer(sqlite3 *db, uint64_t *seed) {
  char sql[300];
  unsigned from = (unsigned)(x_random(seed) % ACCOUNTS), to = (unsigned)(x_random(seed) % ACCOUNTS), much = (unsigned)(x_random(seed) % 20);
  (void)snprintf(sql, sizeof sql, "BEGIN; UPDATE t SET value = value - %u WHERE key = 'account:%u';"
                 "UPDATE t SET value = value + %u WHERE key = 'account:%u'; COMMIT", much, from, much, to);
  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  if (!sqlite3_get_autocommit(db)) (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

static int balance(sqlite3 *db, int *sum) {
  sqlite3_stmt *s;
  int rc = sqlite3_prepare_v2(db, "SELECT sum(value) FROM t WHERE key GLOB 'account:*'", -1, &s, NULL);
  if (rc == SQLITE_OK) {
    bool there = sqlite3_step(s) == SQLITE_ROW;
    if (there) *sum = sqlite3_column_int(s, 0);
    rc = sqlite3_finalize(s);
    if (there) rc = SQLITE_OK;
  }
  return rc;
}

typedef struct bank { const char *store; uint64_t seed; int transfers, conflicts, wrong; } bank;

static void *work_in_thread(void *argument) {
  bank *b = argument;
  sqlite3 *db;
  char sql[600];
  if (sqlite3_open(":memory:", &db) != SQLITE_OK || spm_table_register(db) != SQLITE_OK) b->wrong = 1;
  (void)snprintf(sql, sizeof sql, "CREATE VIRTUAL TABLE t USING pmemkv(path='%s')", b->store);
  (void)sqlite3_extended_result_codes(db, 1);
  int rc = SQLITE_BUSY;
  for (int i = 0; rc == SQLITE_BUSY && i < 100; i++) rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  if (rc != SQLITE_OK) b->wrong = 2;
  for (int done = 0; done < b->transfers && b->wrong == 0;) {
    int sum = ACCOUNTS * BALANCE;
    rc = try_transfer(db, &b->seed);
    done += rc == SQLITE_OK;
    b->conflicts += rc == SQLITE_BUSY_SNAPSHOT;
    if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_BUSY_SNAPSHOT) b->wrong = rc;
    rc = balance(db, &sum);
    if ((rc != SQLITE_OK && rc != SQLITE_BUSY) || sum != ACCOUNTS * BALANCE) b->wrong = 3;
    if (b->wrong != 0) (void)fprintf(stderr, "  sum %d, result %d: %s\n", sum, rc, sqlite3_errmsg(db));
  }
  (void)sqlite3_close(db);
  return NULL;
}

START_TEST(threads_transfer_and_retry) {
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  bank banks[THREADS];
  const char *store = path_on(ON_PMEM, "bank.kv");
  uint64_t seed = x_seed();
  int conflicts = 0;
  make_bank(store);
  for (int i = 0; i < THREADS; i++) {
    banks[i] = (bank){.store = store, .seed = seed + (uint64_t)i * 7919 + 1, .transfers = 400};
    ck_assert_int_eq(pthread_create(&threads[i], NULL, work_in_thread, &banks[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(banks[i].wrong, 0);
    conflicts += banks[i].conflicts;
  }
  sqlite3 *db = open_kv(store, "");
  ck_assert_int_eq(number(db, "SELECT sum(value) FROM t"), ACCOUNTS * BALANCE);
  close_db(db);
  (void)printf("  conflicts in %d transfers of threads: %d\n", THREADS * 400, conflicts);
}
END_TEST

typedef struct killed_bank { const char *store; uint64_t seed; _Atomic int wrong, transfers, conflicts; } killed_bank;

static _Noreturn void work_until_killed(killed_bank *shared, uint64_t seed) {
  bank b = {.store = shared->store, .seed = seed, .transfers = 5};
  for (;;) {
    (void)work_in_thread(&b);
    if (b.wrong != 0) {
      shared->wrong = b.wrong;
      _exit(1);
    }
    shared->transfers += b.transfers;
    shared->conflicts += b.conflicts;
    b.conflicts = 0;
  }
}

/* Processes that attach, transfer, detach, and are killed at any moment of it. */
START_TEST(processes_are_killed_and_nothing_is_lost) {
  enum { PROCESSES = 4, KILLS = 40 };
  killed_bank *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ck_assert(shared != MAP_FAILED);
  shared->store = path_on(ON_PMEM, "killed.kv");
  pid_t children[PROCESSES] = {0};
  uint64_t seed = x_seed();
  pid_t maker = fork();
  if (maker == 0) {
    make_bank(shared->store);
    _exit(0);
  }
  ck_assert_int_eq(waitpid(maker, NULL, 0), maker);
  for (int kills = 0; kills < KILLS && shared->wrong == 0; kills++) {
    for (int i = 0; i < PROCESSES; i++) {
      if (children[i] != 0) continue;
      uint64_t own = x_random(&seed);
      children[i] = fork();
      if (children[i] == 0) work_until_killed(shared, own | 1);
    }
    (void)usleep(20000 + (useconds_t)(x_random(&seed) % 60000));
    int victim = (int)(x_random(&seed) % PROCESSES);
    (void)kill(children[victim], SIGKILL);
    ck_assert_int_eq(waitpid(children[victim], NULL, 0), children[victim]);
    children[victim] = 0;
  }
  for (int i = 0; i < PROCESSES; i++)
    if (children[i] != 0) {
      (void)kill(children[i], SIGKILL);
      (void)waitpid(children[i], NULL, 0);
    }
  ck_assert_int_eq(shared->wrong, 0);
  ck_assert_int_gt(shared->transfers, 0);
  sqlite3 *db = open_kv(shared->store, "");
  ck_assert_int_eq(number(db, "SELECT sum(value) FROM t"), ACCOUNTS * BALANCE);
  close_db(db);
  (void)printf("  %d transfers, %d conflicts, %d kills\n", shared->transfers, shared->conflicts, KILLS);
}
END_TEST

TCase *pmemkv_sharing_case(void) {
  TCase *c = tcase_create("sharing");
  tcase_set_timeout(c, 300);
  tcase_add_loop_test(c, first_committer_wins, 0, 4);
  tcase_add_test(c, other_keys_are_no_conflict);
  tcase_add_test(c, large_values_conflict);
  tcase_add_test(c, what_was_taken_back_does_not_conflict);
  tcase_add_test(c, write_skew_is_caught);
  tcase_add_test(c, write_skew_passes_under_snapshot);
  tcase_add_loop_test(c, phantoms_are_caught, 0, (int)(sizeof looks / sizeof *looks));
  tcase_add_test(c, only_what_was_read_counts);
  tcase_add_loop_test(c, a_scan_that_stops_early_has_read_so_much, 0, 4);
  tcase_add_test(c, many_reads_are_remembered);
  tcase_add_test(c, open_scans_keep_their_snapshot);
  tcase_add_test(c, threads_transfer_and_retry);
  tcase_add_test(c, processes_are_killed_and_nothing_is_lost);
  return c;
}
