/*
** test_decision.c - a transaction over several members dies in the middle; the one that
** decides says what became of it, or nobody guesses (K1, K2).
*/
#include "fixture.h"

#include "../ext/kv/decision.h"
#include "../ext/kv/kvstore.h"
#include "../vfs/super.h"
#include "media.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct scene {
  char store[512], other[512], database[512];
  int written; /* what the one that decides had done before the end */
  int stock;   /* its VFS, when it is a database */
} scene;

enum { NOTHING, DECIDED, ROLLED_BACK };

static const char *const vfs_name[] = {"pmem", "unix"};

int spm_vfs_register(bool make_default);

static void arrive(scene *s, int medium) {
  x_medium(medium);
  (void)sqlite3_initialize();
  (void)spm_vfs_register(false);
  spm_decision_install();
  const char *(*path)(const char *) = medium == X_PMEM ? pmem_path : file_path;
  (void)snprintf(s->store, sizeof s->store, "%s", path("a.kv"));
  (void)snprintf(s->other, sizeof s->other, "%s", path("b.kv"));
  (void)snprintf(s->database, sizeof s->database, "%s", path("d.db"));
}

static spm_kv *open_kv(const char *path) {
  spm_kv *kv = NULL;
  int rc = spm_kv_open(path, &(spm_kv_options){.create = true}, &kv);
  ck_assert_msg(rc == SQLITE_OK, "%s: %d, %s", path, rc, spm_last_error());
  return kv;
}

static void put(spm_kv *kv, const char *key) {
  spm_tree tree;
  int rc = spm_kv_tree(kv, "t", &tree);
  if (rc == SQLITE_NOTFOUND) rc = spm_kv_tree_create(kv, "t", &tree);
  x_ok(rc);
  x_ok(spm_tree_put(&tree, key, (uint32_t)strlen(key), "v", 1));
}

static bool has(spm_kv *kv, const char *key) {
  spm_tree tree;
  spm_value value;
  x_ok(spm_kv_snapshot_begin(kv));
  int rc = spm_kv_tree(kv, "t", &tree);
  if (rc == SQLITE_OK) rc = spm_tree_get(&tree, key, (uint32_t)strlen(key), &value);
  spm_kv_snapshot_end(kv);
  ck_assert(rc == SQLITE_OK || rc == SQLITE_NOTFOUND);
  return rc == SQLITE_OK;
}

static bool survives(const char *path, const char *key) {
  spm_kv *kv = open_kv(path);
  bool there = has(kv, key);
  spm_kv_close(kv, false);
  return there;
}

static sqlite3 *open_database(const scene *s) {
  sqlite3 *db = NULL;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  x_ok(sqlite3_open_v2(s->database, &db, flags, vfs_name[s->stock]));
  return db;
}

/* A first transaction of the ordinary kind, so that there is something to keep. */
static void prepare_store(spm_kv *kv, spm_decision *d) {
  x_ok(spm_kv_begin(kv));
  put(kv, "before");
  x_ok(spm_kv_commit(kv));
  x_ok(spm_kv_begin(kv));
  put(kv, "tied");
  memcpy(d->store, spm_kv_id(kv), sizeof d->store);
  sqlite3_randomness(sizeof d->id, d->id);
  x_ok(spm_kv_number(kv, &d->number));
}

static void die_with_a_database(void *argument) {
  scene *s = argument;
  spm_decision d;
  sqlite3 *db = open_database(s);
  x_ok(sqlite3_exec(db, "CREATE TABLE t(a); BEGIN; INSERT INTO t VALUES(1)", NULL, NULL, NULL));
  spm_kv *kv = open_kv(s->store);
  prepare_store(kv, &d);
  if (s->written != NOTHING) x_ok(spm_decision_write(db, "main", &d));
  char *reference = spm_decision_in_database(&d, vfs_name[s->stock], s->database);
  x_ok(spm_kv_prepare(kv, reference));
  if (s->written != NOTHING) x_ok(sqlite3_exec(db, s->written == DECIDED ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL));
  (void)raise(SIGKILL);
}

START_TEST(the_row_decides) {
  scene s = {.written = _i / 4 % 3, .stock = _i / 2 % 2};
  arrive(&s, _i % 2);
  ck_assert(x_killed(x_child(die_with_a_database, &s)));
  ck_assert_int_eq(survives(s.store, "tied"), s.written == DECIDED);
  ck_assert(survives(s.store, "before"));
  sqlite3 *db = open_database(&s);
  ck_assert_int_eq(sqlite3_exec(db, s.written == DECIDED ? "INSERT INTO t SELECT 1/(count(*) = 1) FROM t" : "DELETE FROM t",
                                NULL, NULL, NULL), SQLITE_OK);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

/* Another process has the store open all the time: its next transaction takes over. */
START_TEST(a_survivor_asks_too) {
  scene s = {.written = _i / 4 % 3, .stock = _i / 2 % 2};
  arrive(&s, _i % 2);
  spm_kv *kv = open_kv(s.store);
  ck_assert(x_killed(x_child(die_with_a_database, &s)));
  x_ok(spm_kv_begin(kv));
  put(kv, "after");
  x_ok(spm_kv_commit(kv));
  ck_assert_int_eq(has(kv, "tied"), s.written == DECIDED);
  ck_assert(has(kv, "before") && has(kv, "after"));
  spm_kv_close(kv, false);
}
END_TEST

/* The database is away: the store says so, is left as it is, and can be opened when the
** database is back; or somebody decides. */
START_TEST(a_lost_database_is_no_answer) {
  scene s = {.written = DECIDED, .stock = 1};
  char away[520];
  spm_kv *kv = NULL;
  arrive(&s, _i % 2);
  (void)snprintf(away, sizeof away, "%s.away", s.database);
  ck_assert(x_killed(x_child(die_with_a_database, &s)));
  ck_assert_int_eq(rename(s.database, away), 0);
  for (int again = 0; again < 2; again++) {
    ck_assert_int_eq(spm_kv_open(s.store, &(spm_kv_options){0}, &kv), SQLITE_CANTOPEN);
    ck_assert_ptr_nonnull(strstr(spm_last_error(), s.database));
    ck_assert_ptr_nonnull(strstr(spm_last_error(), "pmem_resolve"));
  }
  if (_i / 2 == 0) {
    ck_assert_int_eq(rename(away, s.database), 0);
    ck_assert(survives(s.store, "tied"));
  } else {
    bool asked;
    x_ok(spm_decision_settle(s.store, _i / 2 == 1, &asked));
    ck_assert(asked);
    x_ok(spm_decision_settle(s.store, _i / 2 != 1, &asked));
    ck_assert(!asked);
    ck_assert_int_eq(survives(s.store, "tied"), _i / 2 == 1);
  }
  ck_assert(survives(s.store, "before"));
}
END_TEST

/* Locked by somebody: BUSY, and the answer once the lock is gone. */
START_TEST(a_locked_database_is_waited_for) {
  scene s = {.written = DECIDED, .stock = 1};
  spm_kv *kv = NULL;
  arrive(&s, _i);
  ck_assert(x_killed(x_child(die_with_a_database, &s)));
  sqlite3 *db = open_database(&s);
  x_ok(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL));
  ck_assert_int_eq(spm_kv_open(s.store, &(spm_kv_options){0}, &kv), SQLITE_BUSY_RECOVERY);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), s.database));
  x_ok(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
  ck_assert(survives(s.store, "tied"));
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

static void die_with_another_store(void *argument) {
  scene *s = argument;
  spm_decision d;
  spm_kv *decider = open_kv(s->other), *kv = open_kv(s->store);
  x_ok(spm_kv_begin(decider));
  put(decider, "tied");
  prepare_store(kv, &d);
  if (s->written != NOTHING) x_ok(spm_decision_put(decider, &d));
  char *reference = spm_decision_in_store(&d, s->other);
  x_ok(spm_kv_prepare(kv, reference));
  if (s->written == DECIDED) x_ok(spm_kv_commit(decider));
  if (s->written == ROLLED_BACK) spm_kv_rollback(decider);
  (void)raise(SIGKILL);
}

static bool decisions_left(const char *path) {
  spm_kv *kv = open_kv(path);
  spm_tree tree;
  spm_tree_cursor *cursor = malloc(sizeof *cursor);
  ck_assert_ptr_nonnull(cursor);
  x_ok(spm_kv_snapshot_begin(kv));
  int rc = spm_kv_tree(kv, SPM_DECISION_TREE, &tree);
  if (rc == SQLITE_OK) {
    spm_cursor_open(cursor, &tree);
    rc = spm_cursor_seek(cursor, SPM_SEEK_FIRST, NULL, 0);
  }
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, false);
  free(cursor);
  return rc == SQLITE_OK;
}

START_TEST(the_key_decides) {
  scene s = {.written = _i / 2 % 3};
  arrive(&s, _i % 2);
  ck_assert(x_killed(x_child(die_with_another_store, &s)));
  ck_assert_int_eq(survives(s.store, "tied"), s.written == DECIDED);
  ck_assert_int_eq(survives(s.other, "tied"), s.written == DECIDED);
  ck_assert(!decisions_left(s.other)); /* whoever was settled says that it is not needed any more */
}
END_TEST

/* ------------------------------------------------ seen, and durable when acted on -- */

static unsigned long syncs(void) { return media_count(MEDIA_BIT(MEDIA_FSYNC) | MEDIA_BIT(MEDIA_FDATASYNC), NULL); }

/* Whoever committed may have died before its folder or its WAL was synced: what a store
** commits for must not be lost in a power cut after that. */
START_TEST(a_row_is_durable_before_it_counts) {
  static const char *const modes[] = {"DELETE", "WAL"};
  scene s = {.stock = 1};
  spm_decision d = {.number = 1};
  bool committed = false;
  arrive(&s, X_FILE);
  sqlite3 *db = open_database(&s);
  x_ok(sqlite3_exec(db, _i == 0 ? "PRAGMA journal_mode=DELETE" : "PRAGMA journal_mode=WAL", NULL, NULL, NULL));
  x_ok(sqlite3_exec(db, "CREATE TABLE t(a); BEGIN; INSERT INTO t VALUES(1)", NULL, NULL, NULL));
  x_ok(spm_decision_write(db, "main", &d));
  x_ok(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
  char *reference = spm_decision_in_database(&d, "unix", s.database);
  media_install();
  media_forget();
  x_ok(spm_decision_ask(s.store, reference, &committed));
  ck_assert(committed);
  ck_assert_msg(syncs() >= 2, "%s: %lu syncs", modes[_i], syncs()); /* what holds the row, and the folder */
  sqlite3_free(reference);
  ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

/* The same of a super-journal: it is gone for good once its folder is synced. */
START_TEST(an_absence_is_durable_before_it_counts) {
  scene s = {.stock = 1};
  bool committed = false;
  arrive(&s, X_FILE);
  media_install();
  media_forget();
  x_ok(spm_super_decide(s.database, s.other, &committed)); /* there is no such file */
  ck_assert(committed);
  ck_assert_uint_eq(syncs(), 1);
}
END_TEST

Suite *decision_suite(void) {
  Suite *suite = suite_create("decision");
  TCase *all = tcase_create("decisions");
  tcase_set_timeout(all, 60);
  tcase_add_loop_test(all, the_row_decides, 0, 12);
  tcase_add_loop_test(all, a_survivor_asks_too, 0, 12);
  tcase_add_loop_test(all, a_lost_database_is_no_answer, 0, 6);
  tcase_add_loop_test(all, a_locked_database_is_waited_for, 0, 2);
  tcase_add_loop_test(all, the_key_decides, 0, 6);
  tcase_add_loop_test(all, a_row_is_durable_before_it_counts, 0, 2);
  tcase_add_test(all, an_absence_is_durable_before_it_counts);
  suite_add_tcase(suite, all);
  return suite;
}
