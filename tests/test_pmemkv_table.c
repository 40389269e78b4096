/*
** test_pmemkv_table.c - the table at its edges: lack of memory, savepoints of several
** tables, two tables on one tree, a COMMIT that is refused, DDL inside transactions,
** large values.
*/
#include "database.h"
#include "fixture.h"
#include "scarce.h"
#include "test_pmemkv.h"

#include "../ext/kv/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sqlite3 *open_at(const char *database) {
  sqlite3 *db;
  x_ok(sqlite3_open(database, &db));
  x_ok(spm_table_register(db));
  x_ok(sqlite3_extended_result_codes(db, 1));
  return db;
}

static sqlite3 *open_tables(const char *store) {
  sqlite3 *db = open_at(":memory:");
  run(db, "CREATE VIRTUAL TABLE t USING pmemkv(path='%s'); CREATE VIRTUAL TABLE u USING pmemkv(path='%s')", store, store);
  return db;
}

/* ------------------------------------------------------------ lack of memory -- */

static const char *const hungry[] = {
    "INSERT INTO t VALUES(10, 'ten'), ('long', zeroblob(5000)), (1, 'there')",
    "INSERT OR REPLACE INTO t SELECT key + 100, value FROM t WHERE key < 50",
    "UPDATE t SET value = value || 'more' WHERE key IN (1, 2, 3, 'big')",
    "DELETE FROM t WHERE key GLOB '*i*'",
    "SELECT * FROM t WHERE key IN (1, 2, 3, 'big') OR key GLOB 'b*' ORDER BY key DESC",
    "BEGIN; INSERT INTO t VALUES(20, 1); SAVEPOINT s; INSERT INTO u VALUES(1, 1); ROLLBACK TO s; UPDATE t SET key = 30 WHERE key = 20; COMMIT",
    "BEGIN; DELETE FROM t; SELECT count(*) FROM t; ROLLBACK",
    "CREATE VIRTUAL TABLE w USING pmemkv(path='%s'); INSERT INTO w VALUES(1, 1); DROP TABLE w"};

/* The n-th allocation fails, for every n: an error, and nothing half done. */
START_TEST(lack_of_memory_leaves_a_whole_store) {
  char sql[600];
  scarce_install();
  const char *store = pmem_path("scarce.kv");
  (void)snprintf(sql, sizeof sql, hungry[_i], store);
  unsigned failed = 0;
  for (long n = 0;; n++) {
    sqlite3 *db = open_tables(store);
    run(db, "DELETE FROM t; DELETE FROM u; INSERT INTO t VALUES(1, 'one'), (2, 'two'), ('big', zeroblob(100000))");
    char before[100];
    (void)snprintf(before, sizeof before, "%s", text(db, "SELECT group_concat(key), total(length(value)) FROM t"));
    scarce_left = n;
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? SQLITE_OK : sqlite3_extended_errcode(db);
    scarce_left = -1;
    ck_assert_msg(rc == SQLITE_OK || rc == SQLITE_NOMEM || rc == SQLITE_CONSTRAINT_PRIMARYKEY, "%s: %d, %s", sql, rc, sqlite3_errmsg(db));
    failed += rc == SQLITE_NOMEM;
    if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
    if (rc == SQLITE_NOMEM && strncmp(sql, "CREATE", 6) != 0)
      expect(db, "SELECT group_concat(key), total(length(value)) FROM t", before);
    run(db, "INSERT OR REPLACE INTO t VALUES(2, 'again'); DROP TABLE IF EXISTS w");
    expect(db, "SELECT value FROM t WHERE key = 2", "again");
    close_db(db);
    if (rc != SQLITE_NOMEM) break;
  }
  ck_assert_uint_gt(failed, 5);
}
END_TEST

/* ---------------------------------------------------------------- savepoints -- */

/* A table that joins late is told of the innermost savepoint only (K4). */
START_TEST(late_joiners_return_to_the_right_place) {
  sqlite3 *db = open_tables(pmem_path("s.kv"));
  run(db, "BEGIN; SAVEPOINT a; SAVEPOINT b; INSERT INTO t VALUES(1, 'b'); SAVEPOINT c; INSERT INTO u VALUES(1, 'c')");
  run(db, "INSERT INTO t VALUES(2, 'c'), (3, 'c'); ROLLBACK TO c");
  expect(db, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)", "1|0");
  run(db, "INSERT INTO u VALUES(1, 'c again'), (2, 'c again'); RELEASE c; ROLLBACK TO b");
  expect(db, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)", "0|0");
  run(db, "INSERT INTO u VALUES(5, 'b'); RELEASE b; SAVEPOINT d; DELETE FROM u; INSERT INTO t VALUES(4, 'd'); ROLLBACK TO d; RELEASE a; COMMIT");
  expect(db, "SELECT key, value FROM u", "5|b");
  expect(db, "SELECT count(*) FROM t", "0");
  /* One that joins after others have written since the savepoint does not move it. */
  run(db, "BEGIN; INSERT INTO t VALUES(6, 'before'); SAVEPOINT e; INSERT INTO t VALUES(7, 'e'); INSERT INTO u VALUES(6, 'e'); ROLLBACK TO e");
  expect(db, "SELECT (SELECT group_concat(key) FROM t), (SELECT group_concat(key) FROM u)", "6|5");
  run(db, "ROLLBACK");
  /* The outermost savepoint is the transaction: ROLLBACK TO it comes as -1. */
  run(db, "SAVEPOINT a; INSERT INTO t VALUES(1, 1); SAVEPOINT b; INSERT INTO t VALUES(2, 2); ROLLBACK TO a");
  expect(db, "SELECT count(*) FROM t", "0");
  run(db, "INSERT INTO t VALUES(3, 3); RELEASE a");
  expect(db, "SELECT key FROM t", "3");
  close_db(db);
}
END_TEST

START_TEST(failing_statements_leave_nothing) {
  sqlite3 *db = open_tables(pmem_path("s.kv"));
  run(db, "INSERT INTO t VALUES(5, 'five'); BEGIN; INSERT INTO t VALUES(1, 'one')");
  expect_code(db, "INSERT INTO t VALUES(2, 2), (3, 3), (5, 'again')", SQLITE_CONSTRAINT_PRIMARYKEY);
  expect(db, "SELECT key FROM t ORDER BY key", "1 5");
  expect_code(db, "INSERT OR FAIL INTO t VALUES(2, 2), (3, 3), (5, 'again'), (6, 6)", SQLITE_CONSTRAINT_PRIMARYKEY);
  expect(db, "SELECT key FROM t ORDER BY key", "1 2 3 5");
  expect_code(db, "UPDATE t SET key = key + 1", SQLITE_CONSTRAINT_PRIMARYKEY);
  expect_code(db, "INSERT OR IGNORE INTO t VALUES(7, 7), (NULL, 8), (9, 9)", SQLITE_OK);
  expect_code(db, "INSERT OR REPLACE INTO t VALUES(8, 8), (NULL, 8)", SQLITE_CONSTRAINT_NOTNULL);
  expect(db, "SELECT key FROM t ORDER BY key DESC", "9 7 5 3 2 1");
  expect_code(db, "INSERT OR ROLLBACK INTO t VALUES(5, 5)", SQLITE_CONSTRAINT_PRIMARYKEY);
  expect(db, "SELECT key, value FROM t", "5|five");
  close_db(db);
}
END_TEST

/* --------------------------------------------------------------- one tree twice -- */

/* SQLite does not see that both are one: the cursor itself does not see what the
** statement writes (K5). */
START_TEST(a_statement_does_not_read_what_it_writes) {
  const char *store = pmem_path("s.kv");
  sqlite3 *db = open_tables(store);
  run(db, "CREATE VIRTUAL TABLE temp.t USING pmemkv(path='%s')", store);
  run(db, "INSERT INTO main.t VALUES(1, 1), (2, 2), (3, 3)");
  run(db, "INSERT INTO main.t SELECT key + 10, value FROM temp.t");
  expect(db, "SELECT count(*) FROM t", "6");
  run(db, "BEGIN; INSERT INTO temp.t SELECT key + 100, value FROM main.t ORDER BY key DESC; DELETE FROM main.t WHERE key IN (SELECT key - 100 FROM temp.t)");
  expect(db, "SELECT min(key), count(*) FROM main.t", "101|6");
  run(db, "INSERT INTO main.t SELECT key + 1000, value FROM temp.t WHERE key < 5000");
  run(db, "INSERT INTO main.t SELECT key - 2000, value FROM temp.t WHERE key > -9000 ORDER BY key DESC");
  expect(db, "SELECT min(key), count(*) FROM main.t", "-1899|24");
  run(db, "COMMIT");
  expect(db, "SELECT min(key), count(*) FROM temp.t", "-1899|24");
  close_db(db);
}
END_TEST

/* ---------------------------------------------------------- a refused COMMIT -- */

/* SQLite may refuse a COMMIT after the table has been asked (xSync): the transaction goes
** on, reads its writes, takes back some, and commits later. */
START_TEST(a_refused_commit_can_be_repeated) {
  const char *path = path_on(ON_DISK, "main.db");
  sqlite3 *db = open_at(path), *reader = open_at(path);
  run(db, "CREATE TABLE o(x); CREATE VIRTUAL TABLE t USING pmemkv(); INSERT INTO o VALUES(1); INSERT INTO t VALUES(1, 1)");
  run(reader, "BEGIN");
  expect(reader, "SELECT count(*) FROM o", "1");
  run(db, "BEGIN; INSERT INTO o VALUES(2); INSERT INTO t VALUES(2, 2)");
  for (int i = 0; i < 3; i++) {
    expect_code(db, "COMMIT", SQLITE_BUSY);
    ck_assert_int_eq(sqlite3_get_autocommit(db), 0);
    expect(db, "SELECT count(*) FROM t", "2");
  }
  run(db, "SAVEPOINT s; INSERT INTO t VALUES(3, 3)");
  run(db, "ROLLBACK TO s");
  expect_code(db, "COMMIT", SQLITE_BUSY);
  run(reader, "COMMIT");
  run(db, "COMMIT");
  expect(reader, "SELECT (SELECT count(*) FROM o), group_concat(key) FROM t", "2|1,2");
  /* And one that is given up. */
  run(reader, "BEGIN");
  expect(reader, "SELECT count(*) FROM o", "2");
  run(db, "BEGIN; INSERT INTO o VALUES(3); DELETE FROM t");
  expect_code(db, "COMMIT", SQLITE_BUSY);
  run(db, "ROLLBACK");
  run(reader, "COMMIT");
  expect(reader, "SELECT (SELECT count(*) FROM o), group_concat(key) FROM t", "2|1,2");
  close_db(reader);
  close_db(db);
}
END_TEST

/* The keys are durable when SQLite asks its commit hook, which may refuse: then they must not
** come back, whatever is committed after that and whoever dies. */
static int refuse(void *argument) { return (*(int *)argument)++ < 1; }

static void refuse_and_die(void *argument) {
  int refusals = 0;
  char **store = argument;
  sqlite3 *db = open_at(":memory:");
  for (int i = 0; i < 2; i++)
    run(db, "CREATE VIRTUAL TABLE t%d USING pmemkv(path='%s'); INSERT INTO t%d VALUES('there', 0)", i, store[i], i);
  (void)sqlite3_commit_hook(db, refuse, &refusals);
  run(db, "BEGIN; INSERT INTO t0 VALUES('refused', zeroblob(9000))");
  if (store[2] != NULL) run(db, "DELETE FROM t1; INSERT INTO t1 VALUES('refused', 1)");
  expect_code(db, "COMMIT", SQLITE_CONSTRAINT_COMMITHOOK);
  expect(db, "SELECT count(*), max(key) FROM t0", "1|there");
  if (store[3] != NULL) run(db, "INSERT INTO t0 VALUES('after', 0); BEGIN; INSERT INTO t0 VALUES('b', 0); INSERT INTO t1 VALUES('b', 0); COMMIT");
}

START_TEST(a_commit_that_a_hook_refuses_is_taken_back) {
  char one[300], two[300];
  char *store[] = {one, two, _i & 1 ? one : NULL, _i & 2 ? one : NULL};
  (void)snprintf(one, sizeof one, "%s", path_on(_i & 4 ? ON_DISK : ON_PMEM, "one.kv"));
  (void)snprintf(two, sizeof two, "%s", path_on(_i & 4 ? ON_DISK : ON_PMEM, "two.kv"));
  (void)setenv("PMEM_IS_PMEM_FORCE", _i & 4 ? "0" : "1", 1);
  crash_after(refuse_and_die, store);
  sqlite3 *db = open_at(":memory:");
  for (int i = 0; i < 2; i++) run(db, "CREATE VIRTUAL TABLE t%d USING pmemkv(path='%s')", i, store[i]);
  expect(db, "SELECT (SELECT group_concat(key) FROM t0), (SELECT group_concat(key) FROM t1)",
         _i & 2 ? "after,b,there|b,there" : "there|there");
  close_db(db);
}
END_TEST

/* ------------------------------------------------------------------------ DDL -- */

START_TEST(a_table_dropped_in_its_transaction_takes_its_changes_along) {
  sqlite3 *db = open_tables(pmem_path("s.kv"));
  run(db, "BEGIN; INSERT INTO t VALUES(1, 1); INSERT INTO u VALUES(1, 1); DROP TABLE t; COMMIT");
  expect(db, "SELECT count(*) FROM u", "1");
  run(db, "BEGIN; CREATE VIRTUAL TABLE t USING pmemkv(path='%s'); INSERT INTO t VALUES(7, 7); INSERT INTO u VALUES(2, 2); COMMIT", pmem_path("s.kv"));
  expect(db, "SELECT (SELECT group_concat(key) FROM t), count(*) FROM u", "7|2");
  close_db(db);
}
END_TEST

/* What was read of it does not matter either. */
START_TEST(a_table_dropped_after_it_was_read) {
  const char *store = pmem_path("s.kv");
  sqlite3 *db = open_tables(store), *other = open_tables(store);
  run(db, "CREATE VIRTUAL TABLE r USING pmemkv(path='%s', isolation=serializable); INSERT INTO r VALUES(1, 1)", store);
  run(db, "BEGIN; INSERT INTO r VALUES(2, 2); DELETE FROM r WHERE key = 2");
  expect(db, "SELECT count(*) FROM r", "1");
  run(db, "DROP TABLE r; INSERT INTO u VALUES(1, 1)");
  run(other, "INSERT INTO t VALUES(1, 1)");
  run(db, "COMMIT");
  expect(db, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)", "1|1");
  close_db(other);
  close_db(db);
}
END_TEST

START_TEST(a_table_dropped_by_others_is_told) {
  const char *store = pmem_path("s.kv");
  sqlite3 *a = open_tables(store), *b = open_tables(store);
  run(a, "INSERT INTO t VALUES(1, 1)");
  run(b, "BEGIN; INSERT INTO t VALUES(2, 2)");
  run(a, "DROP TABLE t");
  expect_code(b, "COMMIT", SQLITE_ERROR);
  ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(b), "dropped or renamed by another connection"));
  expect_code(b, "SELECT * FROM t", SQLITE_ERROR);
  run(b, "DROP TABLE t; INSERT INTO u VALUES(1, 1)");
  close_db(a);
  close_db(b);
}
END_TEST

/* --------------------------------------------------------------- large values -- */

START_TEST(large_values_come_back) {
  sqlite3 *db = open_tables(pmem_path("s.kv"));
  static const int sizes[] = {1000, 1339, 1340, 4095, 4096, 4097, 70000, 1 << 20, 5000001};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    run(db, "INSERT INTO t VALUES(%d, randomblob(%d)); INSERT INTO t VALUES('text ' || %d, hex(randomblob(%d)))", (int)i, sizes[i], (int)i, sizes[i] / 2);
  run(db, "CREATE TABLE copy AS SELECT key, value FROM t");
  expect(db, "SELECT count(*) FROM t JOIN copy USING(key) WHERE typeof(t.value) = typeof(copy.value) AND t.value = copy.value", "18");
  /* Renaming a key keeps its value, and so does a transaction that has not committed. */
  run(db, "BEGIN; UPDATE t SET key = key + 100 WHERE typeof(key) = 'integer'; UPDATE t SET key = 'new ' || key WHERE typeof(key) = 'text'");
  expect(db, "SELECT count(*) FROM t JOIN copy ON t.key = copy.key + 100 WHERE t.value = copy.value AND typeof(copy.key) = 'integer'", "9");
  run(db, "COMMIT");
  expect(db, "SELECT count(*) FROM t JOIN copy ON t.key = 'new ' || copy.key WHERE t.value = copy.value", "9");
  expect(db, "SELECT max(length(value)), min(length(value)), sum(length(value)) > 10000000 FROM t", "5000001|1000|1");
  close_db(db);
}
END_TEST

/* The largest there are: 256 MiB come back, a bit more is refused, and so is a longer key. */
START_TEST(values_have_a_limit) {
  sqlite3 *db = open_tables(pmem_path("s.kv"));
  run(db, "INSERT INTO t VALUES('largest', zeroblob(268435456))");
  expect(db, "SELECT length(value), typeof(value), value = zeroblob(268435456) FROM t WHERE key = 'largest'", "268435456|blob|1");
  expect_code(db, "INSERT INTO t VALUES('larger', zeroblob(268435456 + 4096))", SQLITE_TOOBIG);
  ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(db), "a value of 268439552 bytes: values may have 268439551 bytes at most"));
  run(db, "INSERT INTO t VALUES(zeroblob(1087), 1), (printf('%%.*c', 1087, 'k'), 2)");
  expect_code(db, "INSERT INTO t VALUES(printf('%.*c', 1088, 'k'), 3)", SQLITE_TOOBIG);
  expect(db, "SELECT count(*) FROM t WHERE key > zeroblob(5000)", "0");
  expect(db, "SELECT value FROM t WHERE key > printf('%.*c', 1086, 'k') AND key < printf('%.*c', 3000, 'k')", "2");
  expect(db, "SELECT count(*) FROM t WHERE key = printf('%.*c', 3000, 'k')", "0");
  run(db, "DELETE FROM t WHERE key = 'largest'");
  expect(db, "SELECT count(*) FROM t", "2");
  close_db(db);
}
END_TEST

/* A pointer into the store must not be left behind by an aggregate. */
START_TEST(aggregates_keep_their_values) {
  sqlite3 *db = open_tables(pmem_path("s.kv"));
  run(db, "WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 40)"
          "INSERT INTO t SELECT i, CAST(printf('%%05d', (i * 17) %% 41) || zeroblob(3000 + 100 * (i %% 3)) AS BLOB) FROM c");
  run(db, "CREATE TABLE copy AS SELECT key, value FROM t");
  same_rows(db, db, "SELECT max(value) FROM copy");
  expect(db, "SELECT (SELECT max(value) FROM t) = (SELECT max(value) FROM copy), (SELECT min(value) FROM t WHERE key > 3) = (SELECT min(value) FROM copy WHERE key > 3)", "1|1");
  expect(db, "SELECT count(*) FROM (SELECT value, lag(value) OVER (ORDER BY key) AS before FROM t) a, (SELECT value, lag(value) OVER (ORDER BY key) AS before FROM copy) b "
             "WHERE a.value = b.value AND a.before IS b.before", "40");
  close_db(db);
}
END_TEST

TCase *pmemkv_table_case(void) {
  TCase *c = tcase_create("table");
  tcase_set_timeout(c, 300);
  tcase_add_loop_test(c, lack_of_memory_leaves_a_whole_store, 0, (int)(sizeof hungry / sizeof *hungry));
  tcase_add_test(c, late_joiners_return_to_the_right_place);
  tcase_add_test(c, failing_statements_leave_nothing);
  tcase_add_test(c, a_statement_does_not_read_what_it_writes);
  tcase_add_test(c, a_refused_commit_can_be_repeated);
  tcase_add_loop_test(c, a_commit_that_a_hook_refuses_is_taken_back, 0, 8);
  tcase_add_test(c, a_table_dropped_in_its_transaction_takes_its_changes_along);
  tcase_add_test(c, a_table_dropped_after_it_was_read);
  tcase_add_test(c, a_table_dropped_by_others_is_told);
  tcase_add_test(c, large_values_come_back);
  tcase_add_test(c, values_have_a_limit);
  tcase_add_test(c, aggregates_keep_their_values);
  return c;
}
