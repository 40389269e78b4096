/*
** test_together.c - tables of a database and keys of one or two stores in one
** transaction: killed at every step, it is in all of them or in none (K1, K2).
**
** Everything holds one number, 1; the transaction makes it 2.
*/
#include "database.h"
#include "steps.h"

#include "../ext/kv/table.h"
#include "../vfs/store/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS_MAX 2000

typedef struct play {
  const char *vfs, *journal_mode; /* of the database */
  bool tables;                    /* does the transaction change one? */
  int stores;
  bool forced; /* persistent memory, or files whose system calls are steps */
  const char *database, *store[2];
} play;

static const play plays[] = {
    {.vfs = "pmem", .journal_mode = "DELETE", .tables = true, .stores = 1},
    {.vfs = "unix", .journal_mode = "DELETE", .tables = true, .stores = 1},
    {.vfs = "unix", .journal_mode = "PERSIST", .tables = true, .stores = 1},
    {.vfs = "unix", .journal_mode = "WAL", .tables = true, .stores = 1},
    {.vfs = "pmem", .journal_mode = "DELETE", .tables = true, .stores = 2},
    {.vfs = "unix", .journal_mode = "WAL", .tables = true, .stores = 2},
    {.vfs = "unix", .journal_mode = "DELETE", .tables = false, .stores = 2},
    {.vfs = "pmem", .journal_mode = "DELETE", .tables = false, .stores = 2},
};
enum { PLAYS = sizeof plays / sizeof *plays };

static play cast_play(int i) {
  play p = plays[i / 2];
  p.forced = i % 2 == 0;
  p.database = path_on(ON_PMEM, "main.db");
  p.store[0] = path_on(ON_PMEM, "one.kv");
  p.store[1] = path_on(ON_PMEM, "two.kv");
  (void)setenv("PMEM_IS_PMEM_FORCE", p.forced ? "1" : "0", 1);
  return p;
}

static sqlite3 *meet(const play *p) {
  sqlite3 *db = open_with(p->database, p->vfs, NULL);
  ck_assert_int_eq(spm_table_register(db), SQLITE_OK);
  return db;
}

static void begin_round(const play *p) {
  static const char *const suffixes[] = {"", "-journal", "-wal", "-shm", "-pmlog", "-pmshm"};
  const char *const files[] = {p->database, p->store[0], p->store[1]};
  for (int f = 0; f < 3; f++)
    for (size_t s = 0; s < sizeof suffixes / sizeof *suffixes; s++) (void)unlink(beside(files[f], suffixes[s]));
  sqlite3 *db = meet(p);
  run(db, "PRAGMA journal_mode = %s; PRAGMA synchronous = FULL; CREATE TABLE t(v); INSERT INTO t VALUES(1)", p->journal_mode);
  for (int i = 0; i < p->stores; i++)
    run(db, "CREATE VIRTUAL TABLE k%d USING pmemkv(path='%s'); INSERT INTO k%d VALUES('v', 1)", i, p->store[i], i);
  close_db(db);
}

static void change(const play *p, sqlite3 *db) {
  run(db, "PRAGMA synchronous = FULL; BEGIN");
  if (p->tables) run(db, "UPDATE t SET v = 2");
  for (int i = 0; i < p->stores; i++) run(db, "UPDATE k%d SET value = 2", i);
}

static void commit_and_leave(void *argument) {
  const play *p = argument;
  sqlite3 *db = meet(p);
  change(p, db);
  step_mark();
  if (code_of(db, "COMMIT") != SQLITE_OK) _exit(3);
  step_mark();
  if (sqlite3_close(db) != SQLITE_OK) _exit(4);
}

static int value_of(sqlite3 *db, const char *table) {
  char sql[64];
  (void)snprintf(sql, sizeof sql, "SELECT %s FROM %s", strcmp(table, "t") == 0 ? "v" : "value", table);
  return (int)number(db, sql);
}

/* A store is asked first, the database first, or each by a connection of its own. */
static void verify(const play *p, int n, int order, bool acknowledged) {
  static const char *const tables[] = {"t", "k0", "k1"};
  int count = 1 + p->stores, wanted = 0;
  sqlite3 *db = meet(p);
  for (int i = 0; i < count; i++) {
    const char *table = tables[(i + order) % count];
    if (!p->tables && strcmp(table, "t") == 0) continue;
    int value = value_of(db, table);
    if (wanted == 0) wanted = value;
    ck_assert_msg(value == wanted, "%s %s, %d stores, step %d: %s has %d, others %d", p->vfs, p->journal_mode, p->stores, n,
                  table, value, wanted);
  }
  ck_assert_msg(!acknowledged || wanted == 2, "%s %s, step %d: acknowledged and lost", p->vfs, p->journal_mode, n);
  integrity(db);
  close_db(db);
  for (int i = 0; i < p->stores; i++) ck_assert(!exists(beside(p->store[i], "-pmlog")));
}

START_TEST(killed_at_every_step) {
  play p = cast_play(_i);
  int n = 1;
  for (bool killed = true; killed; n++) {
    ck_assert_int_lt(n, STEPS_MAX);
    begin_round(&p);
    step_result result = kill_at_step(n, commit_and_leave, &p);
    killed = result.killed;
    verify(&p, n, n % 3, result.marks > 1);
  }
  ck_assert_int_gt(n, p.tables ? 8 : 3); /* or the steps were not seen */
}
END_TEST

/* Rolled back by the user, by a commit hook, by a reader in the way: all of it, and what
** comes next works. */
static int refuse(void *unused) {
  (void)unused;
  return 1;
}

START_TEST(refused_commits_leave_nothing) {
  play p = cast_play(_i);
  begin_round(&p);
  sqlite3 *db = meet(&p);
  change(&p, db);
  run(db, "ROLLBACK");
  change(&p, db);
  (void)sqlite3_commit_hook(db, refuse, NULL);
  bool hooked = code_of(db, "COMMIT") == SQLITE_CONSTRAINT_COMMITHOOK;
  (void)sqlite3_commit_hook(db, NULL, NULL);
  if (!hooked) ck_assert(!p.tables); /* the hook is for SQLite's own databases */
  if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
  if (hooked) {
    expect(db, "SELECT v FROM t", "1");
    expect(db, "SELECT value FROM k0", "1");
  }
  change(&p, db);
  run(db, "COMMIT");
  expect(db, "SELECT value FROM k0", "2");
  close_db(db);
  verify(&p, 0, 0, true);
}
END_TEST

static int move_away(void *argument) {
  const char *path = argument;
  return rename(path, beside(path, ".away")) == 0 ? 1 : 0;
}

/* COMMIT is refused once the store is prepared, and the database cannot be asked: the store
** promises nothing more, and is settled when both are opened again. */
START_TEST(what_cannot_be_asked_stays_prepared) {
  play p = cast_play(2 + _i); /* stock, rollback journal */
  begin_round(&p);
  sqlite3 *db = meet(&p);
  change(&p, db);
  (void)sqlite3_commit_hook(db, move_away, (void *)(uintptr_t)p.database);
  ck_assert_int_eq(code_of(db, "COMMIT"), SQLITE_CONSTRAINT_COMMITHOOK);
  (void)sqlite3_commit_hook(db, NULL, NULL);
  ck_assert_int_ne(code_of(db, "UPDATE k0 SET value = 7"), SQLITE_OK);
  ck_assert_int_eq(rename(beside(p.database, ".away"), p.database), 0);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
  ck_assert(exists(beside(p.store[0], "-pmlog")));
  verify(&p, 0, 1, false);
}
END_TEST

/* A stock reader makes COMMIT busy: nothing is locked meanwhile, others commit on the
** store, and the transaction goes on where it was (K1). */
START_TEST(a_busy_commit_holds_no_store) {
  play p = cast_play(2 + _i); /* stock, rollback journal */
  begin_round(&p);
  sqlite3 *db = meet(&p), *reader = open_stock(p.database), *other;
  ck_assert_int_eq(sqlite3_open(":memory:", &other), SQLITE_OK);
  ck_assert_int_eq(spm_table_register(other), SQLITE_OK);
  run(other, "CREATE VIRTUAL TABLE k0 USING pmemkv(path='%s')", p.store[0]);
  change(&p, db);
  run(db, "INSERT INTO k0 VALUES('w', 7)");
  run(reader, "BEGIN");
  expect(reader, "SELECT v FROM t", "1");
  for (int i = 0; i < 3; i++) {
    expect_code(db, "COMMIT", SQLITE_BUSY);
    ck_assert_int_eq(sqlite3_get_autocommit(db), 0);
    run(other, "REPLACE INTO k0 VALUES('other', %d)", i);
  }
  run(reader, "COMMIT");
  run(db, "COMMIT");
  expect(other, "SELECT key, value FROM k0", "other|2 v|2 w|7");
  expect(reader, "SELECT v FROM t", "2");
  close_db(other);
  close_db(reader);
  close_db(db);
}
END_TEST

/* What touches keys only leaves no decision: the table that CREATE made stays as it is. */
START_TEST(keys_alone_change_no_database) {
  play p = cast_play(_i);
  begin_round(&p);
  sqlite3 *db = meet(&p);
  bool wal = strcmp(p.journal_mode, "WAL") == 0; /* which does not show what was changed */
  run(db, "DELETE FROM pmemkv_decision; UPDATE k0 SET value = 4");
  expect(db, "SELECT count(*) FROM pmemkv_decision", "0");
  run(db, "BEGIN; UPDATE k0 SET value = 3; COMMIT");
  expect(db, "SELECT count(*) FROM pmemkv_decision", wal ? "1" : "0");
  run(db, "BEGIN; UPDATE t SET v = 5; UPDATE k0 SET value = 5; COMMIT");
  expect(db, "SELECT count(*) FROM pmemkv_decision", "1");
  run(db, "BEGIN; UPDATE t SET v = 6; UPDATE k0 SET value = 6; COMMIT");
  expect(db, "SELECT count(*) FROM pmemkv_decision", "1");
  close_db(db);
}
END_TEST

Suite *together_suite(void) {
  Suite *suite = suite_create("together");
  TCase *all = tcase_create("tables and keys"), *killed = tcase_create("killed");
  tcase_set_tags(killed, "every-step");
  tcase_set_timeout(killed, 300);
  tcase_add_loop_test(killed, killed_at_every_step, 0, 2 * PLAYS);
  suite_add_tcase(suite, killed);
  tcase_set_timeout(all, 300);
  tcase_add_loop_test(all, refused_commits_leave_nothing, 0, 2 * PLAYS);
  tcase_add_loop_test(all, what_cannot_be_asked_stays_prepared, 0, 2);
  tcase_add_loop_test(all, a_busy_commit_holds_no_store, 0, 2);
  tcase_add_loop_test(all, keys_alone_change_no_database, 0, 8);
  suite_add_tcase(suite, all);
  return suite;
}
