/*
** test_vfs_transactions.c - commits, rollbacks and savepoints on one connection, in
** every journal mode, compared with the same statements in memory.
*/
#define SQLITE_ENABLE_SESSION 1
#define SQLITE_ENABLE_PREUPDATE_HOOK 1
#include "database.h"
#include "test_vfs.h"

#include <stdlib.h>
#include <string.h>

static const char *const journal_modes[] = {"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"};
enum { JOURNAL_OFF = 4, JOURNAL_MODES = 5 };

/* A database here and its model in memory: every statement runs in both. */
typedef struct pair {
  sqlite3 *db, *model;
  const char *path;
} pair;

static pair open_pair(int medium, const char *name) {
  pair p = {.path = path_on(medium, name)};
  p.db = open_pmem(p.path);
  ck_assert_int_eq(sqlite3_open(":memory:", &p.model), SQLITE_OK);
  return p;
}

static void both(const pair *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void both(const pair *p, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *sql = sqlite3_vmprintf(format, arguments);
  va_end(arguments);
  run(p->db, "%s", sql);
  run(p->model, "%s", sql);
  sqlite3_free(sql);
}

static void same(const pair *p) {
  integrity(p->db);
  same_content(p->db, p->model);
}

static void close_pair(const pair *p) {
  same(p);
  close_db(p->db);
  stock_accepts(p->path);
  sqlite3 *stock = open_stock(p->path);
  same_content(stock, p->model);
  close_db(stock);
  close_db(p->model);
}

/* Small cache, big rows: nearly every statement spills. */
static void prepare_to_spill(const pair *p) {
  run(p->db, "PRAGMA cache_size = 5");
  both(p, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB, c TEXT UNIQUE)");
  both(p, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) "
          "INSERT INTO t SELECT i, zeroblob(3000 + i * 50), 'row ' || i FROM n");
}

static void churn(const pair *p, int from, int rows) {
  both(p, "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
          "INSERT OR REPLACE INTO t SELECT i, CAST(printf('%%.*c', 2000 + i %% 3000, char(65 + i %% 26)) AS BLOB),"
          " 'churn ' || i FROM n", from, from + rows);
  both(p, "UPDATE t SET b = b || zeroblob(1500) WHERE a %% 7 = %d", from % 7);
  both(p, "DELETE FROM t WHERE a %% 11 = %d", from % 11);
}

/* --------------------------------------------------------- journal modes -- */

/* What SQLite answers to setting it. */
static const char *set_journal_mode(sqlite3 *db, const char *mode) {
  char *sql = sqlite3_mprintf("PRAGMA journal_mode = %s", mode);
  const char *answer = text(db, sql);
  sqlite3_free(sql);
  return answer;
}

START_TEST(every_journal_mode) {
  const char *mode = journal_modes[_i / MEDIA];
  bool off = _i / MEDIA == JOURNAL_OFF;
  pair p = open_pair(_i % MEDIA, "modes.db");
  ck_assert_int_eq(sqlite3_stricmp(set_journal_mode(p.db, mode), mode), 0);
  prepare_to_spill(&p);
  for (int round = 0; round < 4; round++) {
    both(&p, "BEGIN");
    churn(&p, 30 + round * 40, 100);
    both(&p, "COMMIT");
    same(&p);
    both(&p, "BEGIN");
    churn(&p, 500 + round * 40, 100); /* new pages at the end, too */
    both(&p, "DROP TABLE t");
    both(&p, "ROLLBACK"); /* V8: whole, in OFF as well */
    same(&p);
    if (off) continue;
    both(&p, "BEGIN; SAVEPOINT one");
    churn(&p, 10, 50);
    both(&p, "SAVEPOINT two");
    churn(&p, 300, 50);
    both(&p, "ROLLBACK TO two");
    churn(&p, 200, 20);
    both(&p, "RELEASE one; COMMIT");
    same(&p);
  }
  ck_assert_msg(!exists(beside(p.path, "-journal")), "the journal belongs on the heap");
  close_pair(&p);
}
END_TEST

/* From mode to mode on one connection, with work in between. */
START_TEST(changing_the_journal_mode) {
  pair p = open_pair(_i, "modes.db");
  prepare_to_spill(&p);
  for (int i = 0; i < JOURNAL_MODES * JOURNAL_MODES; i++) {
    int mode = i % 2 ? i / JOURNAL_MODES : i % JOURNAL_MODES;
    run(p.db, "PRAGMA journal_mode = %s", journal_modes[mode]);
    both(&p, "BEGIN");
    churn(&p, i * 10, 10);
    both(&p, i % 3 == 0 ? "ROLLBACK" : "COMMIT");
    same(&p);
  }
  close_pair(&p);
}
END_TEST

START_TEST(wal_is_answered_with_the_mode_in_force) {
  pair p = open_pair(_i, "wal.db");
  expect(p.db, "PRAGMA journal_mode = WAL", "delete");
  prepare_to_spill(&p);
  for (int i = 0; i < JOURNAL_MODES; i++) {
    char mode[16];
    (void)sqlite3_snprintf((int)sizeof mode, mode, "%s", set_journal_mode(p.db, journal_modes[i]));
    expect(p.db, "PRAGMA journal_mode = WAL", mode);
    expect(p.db, "PRAGMA main.journal_mode = wal", mode);
    expect(p.db, "PRAGMA journal_mode", mode);
    churn(&p, i, 10);
  }
  run(p.db, "PRAGMA wal_checkpoint; PRAGMA wal_autocheckpoint = 5");
  close_pair(&p);
}
END_TEST

/* There SQLite would enter WAL without shared memory: the file would say WAL. */
START_TEST(wal_in_exclusive_mode) {
  pair p = open_pair(_i, "wal.db");
  run(p.db, "PRAGMA locking_mode = EXCLUSIVE");
  expect(p.db, "PRAGMA journal_mode = WAL", "delete");
  prepare_to_spill(&p);
  expect(p.db, "PRAGMA journal_mode = WAL", "delete");
  churn(&p, 5, 50);
  expect(p.db, "PRAGMA journal_mode", "delete");
  ck_assert_msg(!exists(beside(p.path, "-wal")), "a WAL appeared");
  close_pair(&p);
}
END_TEST

/* ------------------------------------------------------- random histories -- */

/* Statements from a small language, with savepoints to any depth. */
static void random_step(const pair *p, unsigned *seed, int *depth) {
  int from = rand_r(seed) % 400, rows = rand_r(seed) % 60;
  switch (rand_r(seed) % 9) {
    case 0: churn(p, from, rows); break;
    case 1: both(p, "DELETE FROM t WHERE a BETWEEN %d AND %d", from, from + rows); break;
    case 2: both(p, "UPDATE t SET b = zeroblob(%d) WHERE a %% 5 = %d", 10 + from * 20, rows % 5); break;
    case 3: both(p, "SAVEPOINT s%d", (*depth)++); break;
    case 4:
      if (*depth > 0) both(p, "RELEASE s%d", *depth = rand_r(seed) % *depth);
      break;
    case 5:
      if (*depth > 0) both(p, "ROLLBACK TO s%d", *depth - 1);
      break;
    case 6:
      if (*depth == 0) break;
      *depth = 1 + rand_r(seed) % *depth;
      both(p, "ROLLBACK TO s%d", *depth - 1);
      break;
    case 7:
      if (rand_r(seed) % 4 == 0 && *depth > 0) both(p, rand_r(seed) % 2 ? "ROLLBACK" : "COMMIT"), *depth = 0;
      break;
    default: both(p, "INSERT OR REPLACE INTO t VALUES(%d, zeroblob(%d), 'one %d')", from, rows * 200, from);
  }
}

static void random_history(const pair *p, unsigned seed, int steps) {
  int depth = 0;
  for (int i = 0; i < steps; i++) {
    random_step(p, &seed, &depth);
    if (i % 10 == 0) same_rows(p->db, p->model, "SELECT * FROM t ORDER BY a");
  }
  if (depth > 0) both(p, "ROLLBACK");
  same(p);
}

START_TEST(random_histories) {
  const char *given = getenv("SPM_SEED");
  unsigned seeds[] = {1, 2, given ? (unsigned)strtoul(given, NULL, 10) : 3};
  pair p = open_pair(_i % MEDIA, "random.db");
  run(p.db, "PRAGMA journal_mode = %s", journal_modes[_i / MEDIA]);
  run(p.db, "PRAGMA page_size = %d", 512 << _i / MEDIA * 2);
  prepare_to_spill(&p);
  for (size_t i = 0; i < 3; i++) random_history(&p, seeds[i], 120);
  close_pair(&p);
}
END_TEST

/* ----------------------------------------------------------- large ones -- */

/* Past what the store keeps of a write set in memory (32 MiB). */
START_TEST(huge_transactions) {
  pair p = open_pair(_i, "huge.db");
  both(&p, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)");
  both(&p, "INSERT INTO t VALUES(1, 'small')");
  const char *grow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
                     "INSERT INTO t SELECT NULL, zeroblob(60000) || i FROM n";
  run(p.db, "BEGIN; %s", grow);
  ck_assert_int_eq(number(p.db, "SELECT count(*) FROM t"), 901);
  run(p.db, "ROLLBACK");
  same(&p);
  both(&p, "BEGIN; %s", grow);
  both(&p, "UPDATE t SET b = zeroblob(59000) || a WHERE a %% 2");
  both(&p, "SAVEPOINT s; DELETE FROM t WHERE a > 10; ROLLBACK TO s; COMMIT");
  same(&p);
  both(&p, "DELETE FROM t WHERE a %% 3 = 0");
  run(p.db, "BEGIN; UPDATE t SET b = zeroblob(61000)");
  run(p.db, "ROLLBACK");
  close_pair(&p);
}
END_TEST

/* ------------------------------------------------------- failed statements -- */

START_TEST(a_failed_statement_is_rolled_back) {
  pair p = open_pair(_i, "statement.db");
  prepare_to_spill(&p);
  both(&p, "BEGIN");
  churn(&p, 1, 20);
  sqlite3 *all[] = {p.db, p.model};
  for (int i = 0; i < 2; i++) {
    sqlite3_extended_result_codes(all[i], 1);
    expect_code(all[i], "INSERT INTO t SELECT a + 1000, b, c || 'x' FROM t WHERE a < 50 UNION ALL SELECT 2, 1, 1",
                SQLITE_CONSTRAINT_PRIMARYKEY);
    expect_code(all[i], "UPDATE t SET c = CASE WHEN a > 40 THEN 'same' ELSE c END, b = zeroblob(9000)",
                SQLITE_CONSTRAINT_UNIQUE);
    expect_code(all[i], "INSERT OR FAIL INTO t SELECT a + 2000, 1, iif(a < 40, c || 'f', 'row 30') FROM t ORDER BY a",
                SQLITE_CONSTRAINT_UNIQUE);
  }
  same_rows(p.db, p.model, "SELECT * FROM t ORDER BY a");
  both(&p, "COMMIT");
  both(&p, "BEGIN");
  churn(&p, 1, 20);
  for (int i = 0; i < 2; i++)
    expect_code(all[i], "INSERT OR ROLLBACK INTO t SELECT a + 3000, b, 'dup' FROM t ORDER BY a", SQLITE_CONSTRAINT_UNIQUE);
  close_pair(&p);
}
END_TEST

/* ------------------------------------------------------------- the others -- */

START_TEST(temporary_tables) {
  const char *path = path_on(_i, "temp.db");
  sqlite3 *db = open_pmem(path);
  run(db, "PRAGMA cache_size = 5; PRAGMA temp.cache_size = 5; CREATE TABLE t(a, b); CREATE TEMP TABLE u(a, b)");
  run(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
          "INSERT INTO u SELECT i, zeroblob(500) FROM n");
  run(db, "BEGIN; INSERT INTO t SELECT * FROM u; DELETE FROM u WHERE a %% 2; SAVEPOINT s; DELETE FROM u; ROLLBACK TO s; COMMIT");
  run(db, "BEGIN; DELETE FROM t; DELETE FROM u; ROLLBACK");
  expect(db, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)", "3000|1500");
  expect(db, "SELECT count(*) FROM (SELECT DISTINCT b, a FROM t ORDER BY b, a DESC)", "3000");
  close_db(db);
  stock_accepts(path);
}
END_TEST

static int no_conflict(void *unused, int conflict, sqlite3_changeset_iter *at) {
  (void)unused, (void)conflict, (void)at;
  return SQLITE_CHANGESET_ABORT;
}

START_TEST(sessions) {
  if (!sqlite3_compileoption_used("ENABLE_SESSION")) return;
  sqlite3 *db = open_pmem(path_on(_i, "a.db")), *copy = open_pmem(path_on(_i, "b.db"));
  sqlite3_session *session;
  int size;
  void *changes;
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  run(copy, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  ck_assert_int_eq(sqlite3session_create(db, "main", &session), SQLITE_OK);
  ck_assert_int_eq(sqlite3session_attach(session, NULL), SQLITE_OK);
  run(db, "INSERT INTO t VALUES(1, 'one'), (2, 2.5), (3, x'00ff'); BEGIN; DELETE FROM t; ROLLBACK;"
          "UPDATE t SET b = 'two' WHERE a = 2; DELETE FROM t WHERE a = 3");
  ck_assert_int_eq(sqlite3session_changeset(session, &size, &changes), SQLITE_OK);
  ck_assert_int_eq(sqlite3changeset_apply(copy, size, changes, NULL, no_conflict, NULL), SQLITE_OK);
  same_content(db, copy);
  expect(copy, "SELECT * FROM t", "1|one 2|two");
  sqlite3session_delete(session);
  sqlite3_free(changes);
  close_db(db);
  close_db(copy);
}
END_TEST

/* V9: pointers into the data while a transaction changes, cuts and takes back. */
START_TEST(mmap_size_changes_no_answer) {
  pair p = open_pair(_i, "mmap.db");
  ck_assert_int_eq(number(p.db, "PRAGMA mmap_size"), 0);
  ck_assert_int_eq(number(p.db, "PRAGMA mmap_size = 100000000"), 100000000);
  prepare_to_spill(&p);
  for (int i = 0; i < 4; i++) {
    sqlite3_stmt *open;
    both(&p, "BEGIN");
    churn(&p, i * 30, 60);
    ck_assert_int_eq(sqlite3_prepare_v2(p.db, "SELECT length(b), b FROM t", -1, &open, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(open), SQLITE_ROW);
    (void)number(p.db, "PRAGMA mmap_size = 0"); /* ignored while pointers are out */
    churn(&p, i * 20, 60);
    while (sqlite3_step(open) == SQLITE_ROW) continue;
    (void)sqlite3_finalize(open);
    same_rows(p.db, p.model, "SELECT * FROM t ORDER BY a");
    both(&p, i % 2 ? "ROLLBACK" : "COMMIT");
    same(&p);
    (void)number(p.db, i == 2 ? "PRAGMA mmap_size = 5000" : "PRAGMA mmap_size = 100000000");
  }
  sqlite3 *other = open_pmem(p.path); /* a second attachment ends the pointing */
  run(other, "PRAGMA mmap_size = 100000000");
  same_content(other, p.model);
  run(other, "DELETE FROM t WHERE a %% 2");
  run(p.model, "DELETE FROM t WHERE a %% 2");
  same(&p);
  close_db(other);
  run(p.db, "VACUUM");
  close_pair(&p);
}
END_TEST

/* Past the option size the transaction is rolled back, and the database goes on. */
START_TEST(a_database_has_its_size) {
  sqlite3 *db = open_with(path_on(_i, "t.db"), "pmem", "pmem_size=200K");
  run(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) VALUES(randomblob(50000))");
  for (int cache = 2000; cache > 0; cache -= 1995) { /* the second spills */
    run(db, "PRAGMA cache_size = %d; BEGIN; DELETE FROM t", cache);
    int rc = SQLITE_OK;
    for (int i = 0; i < 500 && rc == SQLITE_OK; i++) rc = code_of(db, "INSERT INTO t(b) VALUES(randomblob(5000))");
    ck_assert_int_eq(rc == SQLITE_OK ? code_of(db, "COMMIT") : rc, SQLITE_FULL);
    ck_assert(sqlite3_get_autocommit(db));
    expect(db, "SELECT count(*), sum(length(b)) FROM t", "1|50000");
    integrity(db);
  }
  ck_assert_int_eq(code_of(db, "INSERT INTO t(b) VALUES(randomblob(200000))"), SQLITE_FULL);
  ck_assert_ptr_nonnull(strstr(text(db, "PRAGMA pmem_error"), "204800"));
  run(db, "INSERT INTO t(b) VALUES(randomblob(100000))");
  run(db, "PRAGMA pmem_size = 100000; UPDATE t SET b = randomblob(length(b))"); /* larger, but no longer */
  ck_assert_int_eq(code_of(db, "INSERT INTO t(b) VALUES(randomblob(50000))"), SQLITE_FULL);
  run(db, "DELETE FROM t WHERE a = 2; VACUUM");
  ck_assert_int_eq(code_of(db, "INSERT INTO t(b) VALUES(randomblob(50000))"), SQLITE_FULL);
  run(db, "PRAGMA pmem_size = 0; INSERT INTO t(b) VALUES(randomblob(500000))");
  integrity(db);
  close_db(db);
  stock_accepts(path_on(_i, "t.db"));
}
END_TEST

TCase *vfs_transactions_case(void) {
  TCase *transactions = tcase_create("transactions");
  tcase_set_timeout(transactions, 120);
  tcase_add_loop_test(transactions, every_journal_mode, 0, MEDIA * JOURNAL_MODES);
  tcase_add_loop_test(transactions, changing_the_journal_mode, 0, MEDIA);
  tcase_add_loop_test(transactions, wal_is_answered_with_the_mode_in_force, 0, MEDIA);
  tcase_add_loop_test(transactions, wal_in_exclusive_mode, 0, MEDIA);
  tcase_add_loop_test(transactions, random_histories, 0, MEDIA * JOURNAL_OFF);
  tcase_add_loop_test(transactions, huge_transactions, 0, MEDIA);
  tcase_add_loop_test(transactions, a_failed_statement_is_rolled_back, 0, MEDIA);
  tcase_add_loop_test(transactions, temporary_tables, 0, MEDIA);
  tcase_add_loop_test(transactions, sessions, 0, MEDIA);
  tcase_add_loop_test(transactions, a_database_has_its_size, 0, MEDIA);
  tcase_add_loop_test(transactions, mmap_size_changes_no_answer, 0, MEDIA);
  return transactions;
}
