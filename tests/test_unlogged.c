/*
** test_unlogged.c - wal=off: what it makes fast, whom it keeps out, and what a crash is told.
*/
#include "database.h"
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define BLOCKS 40u

static int turn(spm_conn *c, bool off) {
  return spm_store_configure(c, &(spm_store_options){.log_size_max = 1u << 20, .unlogged = off});
}

static int copy_metrics(void *to, const spm_metrics *m) {
  *(spm_metrics *)to = *m;
  return SQLITE_OK;
}

static spm_metrics metrics(void) {
  spm_metrics m = {0};
  x_ok(spm_inspect_stores(copy_metrics, &m));
  return m;
}

/* ------------------------------------------------------------------ commits -- */

/* The content goes to X once, and nowhere else; a transaction that is rolled back never. */
START_TEST(commits_go_straight_to_x) {
  x_medium(_i);
  media_install();
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  x_ok(turn(c, true));
  uint64_t before = metrics().media_bytes_written;
  media_forget();
  x_commit(c, 0, BLOCKS, 1);
  x_commit(c, 0, 20, 2);
  ck_assert_uint_le(metrics().media_bytes_written - before, (BLOCKS + 20) * SPM_BLOCK_SIZE + 4 * SPM_LINE_SIZE);
  if (_i == X_FILE) ck_assert_uint_eq(media_count(MEDIA_BIT(MEDIA_SYNC) | MEDIA_BIT(MEDIA_FDATASYNC), NULL), 0);
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, BLOCKS, 3));
  x_ok(spm_commit_rollback(c));
  x_end(c);
  ck_assert_uint_eq(x_read(c, 0, 20), 2);
  ck_assert_uint_eq(x_read(c, 20, BLOCKS - 20), 1);
  x_ok(turn(c, false));
  x_commit(c, 1, 1, 4);
  ck_assert_uint_eq(x_read(c, 1, 1), 4);
  x_detach(c);
}
END_TEST

/* A transaction that memory does not hold is committed from the log. */
START_TEST(large_transactions_go_by_the_log) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  x_ok(turn(c, true));
  c->store->resident_max = 8;
  x_commit(c, 0, BLOCKS, 1);
  ck_assert_uint_eq(x_read(c, 0, BLOCKS), 1);
  const char *path = x_beside(c->store->path, "");
  x_detach(c);
  c = x_attach(path);
  ck_assert_uint_eq(x_read(c, 0, BLOCKS), 1);
  x_detach(c);
}
END_TEST

static void go_by_the_log_once_and_die(void *path) {
  spm_conn *c = x_join(path);
  x_ok(turn(c, true));
  c->store->resident_max = 8;
  x_commit(c, 0, BLOCKS, 2);
  c->store->resident_max = BLOCKS;
  x_commit(c, 0, 20, 3);
  (void)raise(SIGKILL);
}

/* What the log has of a large transaction is not what X has after the next one. */
START_TEST(the_log_of_a_large_one_is_not_redone) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  const char *path = x_beside(c->store->path, "");
  x_commit(c, 0, BLOCKS, 1);
  x_detach_dirty(c);
  ck_assert(x_killed(x_child(go_by_the_log_once_and_die, (void *)(uintptr_t)path)));
  c = x_verifying(path);
  ck_assert_uint_eq(x_read(c, 0, 20), 3);
  ck_assert_uint_eq(x_read(c, 20, BLOCKS - 20), 2);
  x_detach(c);
}
END_TEST

/* ---------------------------------------------------------------- others -- */

static void try_to_join(void *path) {
  spm_conn *c;
  ck_assert_int_eq(x_try_join(path, &c), SQLITE_BUSY);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "wal=off"));
}

/* It is for who is alone, and nobody comes to it, from here or elsewhere. */
START_TEST(only_the_only_one) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", BLOCKS)), *other = x_join(c->store->path);
  char *path = (char *)(uintptr_t)x_beside(c->store->path, "");
  ck_assert_int_eq(turn(c, true), SQLITE_BUSY);
  x_commit(c, 0, 2, 1);
  ck_assert_uint_eq(x_read(other, 0, 2), 1);
  x_detach(other);
  x_ok(turn(c, true));
  ck_assert_int_eq(x_try_join(path, &other), SQLITE_BUSY);
  ck_assert(x_finished(x_child(try_to_join, path)));
  x_ok(x_begin(c));
  ck_assert_int_eq(turn(c, false), SQLITE_BUSY); /* not in the middle of a transaction */
  x_end(c);
  x_ok(turn(c, false));
  other = x_join(path);
  x_detach(other);
  x_detach(c);
}
END_TEST

/* What is prepared could not be rolled back. */
START_TEST(no_part_in_a_larger_commit) {
  x_medium(_i);
  spm_conn *c = x_create(x_new("x.db", BLOCKS));
  x_ok(turn(c, true));
  x_ok(x_begin(c));
  x_ok(x_fill(c, 0, 2, 1));
  ck_assert_int_eq(spm_commit_stage(c, "/some/super-journal"), SQLITE_ERROR);
  x_end(c);
  ck_assert_uint_eq(x_read(c, 0, 2), 0);
  x_detach(c);
}
END_TEST

/* --------------------------------------------------------------- power loss -- */

typedef struct outage {
  const char *image;
  uint64_t least, most, at, seed;
} outage;
static outage now;

/* Whole, one of the states that were durable or on their way, or refused. */
static void look_at_image(void *argument) {
  const outage *o = argument;
  spm_conn *c;
  int rc = x_try_attach(o->image, &c);
  if (rc == SQLITE_CORRUPT && strstr(spm_last_error(), "wal=off") != NULL) return;
  x_ok(rc);
  uint64_t value = x_peek(c, 0, BLOCKS);
  ck_assert_msg(value >= o->least && value <= o->most, "%llu in place of %llu to %llu", (unsigned long long)value,
                (unsigned long long)o->least, (unsigned long long)o->most);
}

static void lose_power(const media_operation *op) {
  for (media_loss loss = MEDIA_LOSE_ALL; loss <= MEDIA_LOSE_SOME; loss++) {
    media_power_loss(now.image, loss, now.seed + ++now.at);
    ck_assert_msg(x_finished(x_child(look_at_image, &now)), "power lost at kind %d of %c, loss %d, commit %llu", op->kind,
                  op->file, loss, (unsigned long long)now.most);
  }
  media_at(MEDIA_TABLES, "xl", 1, MEDIA_CALL);
}

/* From a commit of the log through two without it to one with it, the power goes before
** every operation: who opens what is left finds a state whole, or is told. */
START_TEST(power_leaves_a_state_or_a_refusal) {
  x_medium(_i);
  const char *x = x_new("x.db", BLOCKS);
  now = (outage){.image = x_new("image.db", 4), .seed = x_seed()};
  spm_conn *c = x_create(x);
  media_install();
  media_track(x);
  x_commit(c, 0, BLOCKS, 1);
  now.least = now.most = 1;
  media_call(lose_power);
  media_at(MEDIA_TABLES, "xl", 1, MEDIA_CALL);
  x_ok(turn(c, true));
  for (now.most = 2; now.most <= 3; now.most++) x_commit(c, 0, BLOCKS, now.most);
  now.most = 3;
  x_ok(turn(c, false));
  now.least = 3; /* durable from here on */
  now.most = 4;
  x_commit(c, 0, BLOCKS, 4);
  now.least = 4;
  media_calm();
  lose_power(&(media_operation){.file = MEDIA_DATA});
  media_calm();
  ck_assert_uint_gt(now.at, 60);
  x_detach(c);
}
END_TEST

/* ---------------------------------------------------------------------- SQL -- */

static void load_and_die(void *path) {
  sqlite3 *db = open_with(path, "pmem", "pmem_wal=off");
  run(db, "INSERT INTO t VALUES(2)");
  (void)raise(SIGKILL);
}

/* The next one is told, and may have it verified; from then on it is like any other. */
START_TEST(a_crash_is_told) {
  const char *path = path_on(_i, "app.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  close_db(db);
  ck_assert(x_killed(x_child(load_and_die, (void *)(uintptr_t)path)));
  for (int i = 0; i < 2; i++) {
    ck_assert_int_eq(open_code(path, "pmem", NULL), SQLITE_CORRUPT);
    ck_assert_ptr_nonnull(strstr(spm_last_error(), "recovery=full"));
  }
  ck_assert_int_eq(open_code(path, "pmem", "pmem_recovery=none"), SQLITE_CANTOPEN);
  db = open_with(path, "pmem", "pmem_recovery=full");
  expect(db, "SELECT group_concat(a) FROM t", "1,2");
  close_db(db);
  db = open_pmem(path);
  expect(db, "SELECT group_concat(a) FROM t", "1,2");
  close_db(db);
}
END_TEST

/* Nor does a close end the life of one that could not be made whole: it is told, too. */
START_TEST(a_close_that_fails_is_told) {
  x_medium(X_FILE);
  media_install();
  const char *x = x_new("x.db", BLOCKS);
  spm_conn *c = x_create(x);
  x_ok(turn(c, true));
  x_commit(c, 0, BLOCKS, 1);
  media_at(MEDIA_BIT(MEDIA_SYNC), "x", 1, MEDIA_FAIL);
  x_detach(c);
  media_calm();
  ck_assert_int_eq(x_kind(x), SPM_HEADER_STAMPED);
  ck_assert(x_exists(x, "-pmlog"));
  ck_assert_int_eq(x_try_attach(x, &c), SQLITE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "recovery=full"));
}
END_TEST

/* Damaged, it stays refused, also when the one that looked at it has gone. */
START_TEST(a_damaged_one_stays_refused) {
  const char *path = path_on(_i, "app.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a); INSERT INTO t SELECT zeroblob(900) FROM sqlite_schema, (VALUES(1),(2),(3),(4),(5),(6))");
  close_db(db);
  ck_assert(x_killed(x_child(load_and_die, (void *)(uintptr_t)path)));
  x_patch(path, "", 4096, "\377\377\377\377\377\377\377\377", 8);
  for (int i = 0; i < 2; i++) {
    ck_assert_int_eq(open_code(path, "pmem", "pmem_recovery=full"), SQLITE_CORRUPT);
    ck_assert_int_eq(open_code(path, "pmem", NULL), SQLITE_CORRUPT);
  }
}
END_TEST

START_TEST(a_load_from_sql) {
  const char *path = path_on(_i, "app.db");
  sqlite3 *db = open_pmem(path);
  run(db, "CREATE TABLE t(a)");
  expect(db, "PRAGMA pmem_wal=off", "off");
  run(db, "BEGIN");
  for (int i = 1; i <= 100; i++) run(db, "INSERT INTO t VALUES(%d)", i);
  ck_assert_int_eq(code_of(db, "PRAGMA pmem_wal=on"), SQLITE_BUSY);
  ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(db), "transaction"));
  run(db, "COMMIT; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; RELEASE s");
  ck_assert_int_eq(open_code(path, "pmem", NULL), SQLITE_BUSY);
  expect(db, "PRAGMA pmem_wal", "off");
  if (_i == ON_PMEM) expect(db, "PRAGMA pmem_wal=on", "on"); /* or by closing it */
  expect(db, "SELECT count(*) FROM t", "100");
  close_db(db);
  db = open_stock(path);
  expect(db, "SELECT sum(a) FROM t", "5050");
  expect(db, "PRAGMA integrity_check", "ok");
  close_db(db);
  ck_assert_int_eq(open_code(path, "pmem", "pmem_wal=maybe"), SQLITE_CANTOPEN);
}
END_TEST

/* The log is the store's: whoever turns it off or on, all see it, and another's next option
** leaves it so. */
START_TEST(the_other_connection_sees_it) {
  const char *path = path_on(_i, "app.db");
  sqlite3 *one = open_with(path, "pmem", "pmem_wal=off"), *two = open_with(path, "pmem", "pmem_wal=off");
  run(one, "CREATE TABLE t(a)");
  expect(two, "SELECT count(*) FROM t", "0");
  expect(two, "PRAGMA pmem_wal", "off");
  expect(one, "PRAGMA pmem_wal=on", "on");
  expect(two, "PRAGMA pmem_wal", "on");
  expect(two, "PRAGMA pmem_max_log_size='2M'", "2097152");
  expect(one, "PRAGMA pmem_wal", "on");
  run(two, "INSERT INTO t VALUES(1)");
  expect(one, "SELECT count(*) FROM t", "1");
  close_db(one);
  close_db(two);
}
END_TEST

Suite *unlogged_suite(void) {
  Suite *suite = suite_create("unlogged");
  TCase *store = tcase_create("store");
  tcase_set_timeout(store, 60);
  tcase_add_loop_test(store, commits_go_straight_to_x, 0, X_MEDIA);
  tcase_add_loop_test(store, large_transactions_go_by_the_log, 0, X_MEDIA);
  tcase_add_loop_test(store, the_log_of_a_large_one_is_not_redone, 0, X_MEDIA);
  tcase_add_loop_test(store, only_the_only_one, 0, X_MEDIA);
  tcase_add_loop_test(store, no_part_in_a_larger_commit, 0, X_MEDIA);
  tcase_add_loop_test(store, power_leaves_a_state_or_a_refusal, 0, X_MEDIA);
  tcase_add_test(store, a_close_that_fails_is_told);
  suite_add_tcase(suite, store);
  TCase *sql = tcase_create("sql");
  tcase_set_timeout(sql, 60);
  tcase_add_loop_test(sql, a_crash_is_told, 0, MEDIA);
  tcase_add_loop_test(sql, a_damaged_one_stays_refused, 0, MEDIA);
  tcase_add_loop_test(sql, a_load_from_sql, 0, MEDIA);
  tcase_add_loop_test(sql, the_other_connection_sees_it, 0, MEDIA);
  suite_add_tcase(suite, sql);
  return suite;
}
