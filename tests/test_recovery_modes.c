/*
** test_recovery_modes.c - recovery=none touches nothing that a crash left, and recovery=full
** hands over nothing that is damaged; of databases and of key-value stores.
*/
#include "database.h"
#include "kv.h"

#include "../ext/kv/kvformat.h"
#include "../ext/kv/kvhost.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TCase *recovery_modes_case(void);

static const char *fill = "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b);"
                          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
                          "INSERT INTO t SELECT NULL, printf('%01000d', i) FROM n";

/* ---------------------------------------------------------------- fingerprints -- */

/* Content, length and moment of the last change of all files that may stand beside one. */
static const char *const suffixes[] = {"", "-pmlog", "-pmshm", "-journal", "-wal"};
enum { FILES = sizeof suffixes / sizeof *suffixes };

typedef struct scenery {
  uint64_t hash[FILES];
  struct timespec changed[FILES];
} scenery;

static scenery look(const char *path) {
  scenery s = {0};
  for (int i = 0; i < FILES; i++) {
    struct stat status;
    s.hash[i] = x_hash(path, suffixes[i]);
    if (stat(beside(path, suffixes[i]), &status) == 0) s.changed[i] = status.st_mtim;
  }
  return s;
}

static void untouched(const char *path, const scenery *before) {
  scenery now = look(path);
  for (int i = 0; i < FILES; i++) {
    ck_assert_msg(now.hash[i] == before->hash[i], "%s%s was changed, made or removed", path, suffixes[i]);
    ck_assert_mem_eq(&now.changed[i], &before->changed[i], sizeof now.changed[i]);
  }
}

/* Refused in so many words, and left alone; twice, for the first try must not matter. */
static void none_refuses(const char *path, const char *word) {
  for (int i = 0; i < 2; i++) {
    scenery before = look(path);
    sqlite3 *db = open_with(path, "pmem", i == 0 ? "pmem_recovery=none" : "pmem_recovery=none&mode=ro");
    ck_assert_int_eq(code_of(db, "SELECT count(*) FROM t"), SQLITE_CANTOPEN);
    const char *why = text(db, "PRAGMA pmem_error");
    ck_assert_msg(strstr(why, "recovery=none") && strstr(why, "copy") && strstr(why, word), "%s", why);
    if (i == 0) ck_assert_int_ne(code_of(db, "CREATE TABLE u(a)"), SQLITE_OK);
    close_db(db);
    untouched(path, &before);
  }
}

static void opens(const char *path, const char *parameters, int rows) {
  sqlite3 *db = open_with(path, "pmem", parameters);
  ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), rows);
  run(db, "UPDATE t SET b = a");
  close_db(db);
  stock_accepts(path);
}

/* ------------------------------------------------------------- recovery=none -- */

static void commit_and_die(void *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "%s", fill);
}

START_TEST(none_refuses_what_a_crash_left) {
  const char *path = path_on(_i, "a.db");
  crash_after(commit_and_die, (void *)(uintptr_t)path);
  none_refuses(path, "-pmlog");
  opens(path, NULL, 200);
}
END_TEST

static void die_in_stock(void *path) {
  sqlite3 *db = open_stock(path);
  run(db, "%s", fill);
  run(db, "PRAGMA cache_size = 5; BEGIN; UPDATE t SET b = 'lost'; DELETE FROM t WHERE a > 5");
  ck_assert_int_eq(sqlite3_db_cacheflush(db), SQLITE_OK);
}

static void die_with_a_wal(void *path) {
  sqlite3 *db = open_stock(path);
  run(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  run(db, "%s", fill);
}

START_TEST(none_refuses_what_stock_left) {
  const char *hot = path_on(_i, "hot.db"), *wal = path_on(_i, "wal.db");
  crash_after(die_in_stock, (void *)(uintptr_t)hot);
  crash_after(die_with_a_wal, (void *)(uintptr_t)wal);
  scenery before = look(hot);
  sqlite3 *db = open_with(hot, "pmem", "pmem_recovery=none");
  ck_assert_int_eq(code_of(db, "SELECT count(*) FROM t"), SQLITE_CANTOPEN);
  ck_assert_ptr_nonnull(strstr(text(db, "PRAGMA pmem_error"), "-journal"));
  close_db(db);
  untouched(hot, &before);
  before = look(wal);
  db = open_with(wal, "pmem", "pmem_recovery=none");
  ck_assert_int_eq(code_of(db, "SELECT count(*) FROM t"), SQLITE_CANTOPEN);
  ck_assert_ptr_nonnull(strstr(text(db, "PRAGMA pmem_error"), "-wal"));
  close_db(db);
  untouched(wal, &before);
  opens(hot, NULL, 200);
  opens(wal, NULL, 200);
}
END_TEST

/* Closed databases of any journal mode, new ones, and one that others have open. */
START_TEST(none_opens_what_needs_no_recovery) {
  static const char *const modes[] = {"DELETE", "PERSIST", "TRUNCATE", "WAL"};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    const char *path = path_on(_i, modes[i]);
    sqlite3 *db = open_stock(path);
    run(db, "PRAGMA journal_mode = %s", modes[i]);
    run(db, "%s", fill);
    close_db(db);
    opens(path, "pmem_recovery=none", 200);
  }
  const char *path = path_on(_i, "new.db");
  sqlite3 *db = open_with(path, "pmem", "pmem_recovery=none");
  run(db, "%s", fill);
  sqlite3 *other = open_with(path, "pmem", "pmem_recovery=none");
  ck_assert_int_eq(number(other, "SELECT count(*) FROM t"), 200);
  close_db(other);
  close_db(db);
  stock_accepts(path);
}
END_TEST

/* ------------------------------------------------------------- recovery=full -- */

/* The content of the index is not that of the table, which no page alone shows. */
static void damage(const char *path) {
  sqlite3 *db = open_stock(path);
  run(db, "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'i'");
  close_db(db);
  db = open_stock(path);
  run(db, "UPDATE t SET b = 'changed' WHERE a = 7");
  run(db, "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES('index', 'i', 't', 3, 'CREATE INDEX i ON t(b)')");
  close_db(db);
}

static void full_refuses(const char *path) {
  sqlite3 *db = open_with(path, "pmem", "pmem_recovery=full");
  for (int i = 0; i < 2; i++) {
    ck_assert_int_eq(code_of(db, "SELECT count(*) FROM t") & 0xff, SQLITE_CORRUPT);
    const char *why = text(db, "PRAGMA pmem_error");
    ck_assert_msg(strstr(why, "recovery=full found") && strstr(why, "index i"), "%s", why);
  }
  close_db(db);
  only_plain_file(path);
}

START_TEST(full_refuses_damage) {
  const char *path = path_on(_i, "a.db");
  sqlite3 *db = open_stock(path);
  run(db, "%s", fill);
  close_db(db);
  opens(path, "pmem_recovery=full", 200);
  db = open_stock(path);
  run(db, "UPDATE t SET b = printf('%%01000d', a)");
  close_db(db);
  damage(path);
  db = open_pmem(path); /* nobody asked */
  ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), 200);
  close_db(db);
  full_refuses(path);
  db = open_stock(path); /* which can repair it */
  run(db, "REINDEX");
  close_db(db);
  opens(path, "pmem_recovery=full", 200);
}
END_TEST

/* Damage that keeps SQLite from reading the schema. */
START_TEST(full_refuses_a_damaged_schema) {
  const char *path = path_on(_i, "a.db");
  sqlite3 *db = open_stock(path);
  run(db, "%s", fill);
  close_db(db);
  raw_write(path, 100, "\x77", 1);
  db = open_with(path, "pmem", "pmem_recovery=full");
  ck_assert_int_eq(code_of(db, "SELECT 1 FROM sqlite_schema") & 0xff, SQLITE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(text(db, "PRAGMA pmem_error"), "recovery=full found"));
  close_db(db);
}
END_TEST

static void damage_and_die(void *path) {
  sqlite3 *db = open_pmem(path);
  run(db, "UPDATE t SET b = 'more' WHERE a = 9");
}

/* After a crash, with the log replayed first: what it brings is looked at as well. */
START_TEST(full_looks_at_what_was_recovered) {
  const char *path = path_on(_i, "a.db");
  crash_after(commit_and_die, (void *)(uintptr_t)path);
  opens(path, "pmem_recovery=full", 200);
  damage(path);
  crash_after(damage_and_die, (void *)(uintptr_t)path);
  full_refuses(path);
  sqlite3 *db = open_stock(path);
  expect(db, "SELECT count(*) FROM t NOT INDEXED WHERE b = 'more'", "1");
  close_db(db);
}
END_TEST

/* What its check cannot know of is no damage, but neither is it verified. */
START_TEST(full_says_what_it_cannot_verify) {
  const char *path = path_on(_i, "a.db");
  sqlite3 *db = open_stock(path);
  run(db, "%s", fill);
  run(db, "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t(b COLLATE mine)' WHERE name = 'i'");
  close_db(db);
  db = open_with(path, "pmem", "pmem_recovery=full");
  ck_assert_int_eq(code_of(db, "SELECT count(*) FROM t") & 0xff, SQLITE_ERROR);
  ck_assert_ptr_nonnull(strstr(text(db, "PRAGMA pmem_error"), "could not verify it: no such collation sequence: mine"));
  close_db(db);
  only_plain_file(path);
}
END_TEST

/* -------------------------------------------------------- key-value stores -- */

static spm_kv *filled_store(const char *path) {
  spm_kv *kv = kv_open(path);
  (void)kv_create(kv, "t");
  kv_begin(kv);
  spm_tree t = kv_tree(kv, "t");
  for (uint64_t i = 0; i < 1000; i++) x_ok(spm_tree_put(&t, &i, sizeof i, "value", 5));
  kv_commit(kv);
  return kv;
}

static int open_kv(const char *path, spm_store_options options, spm_kv **kv) {
  options.log_size_max = 10u << 20;
  return spm_kv_open(path, &(spm_kv_options){.store = options}, kv);
}

START_TEST(none_refuses_a_store_that_crashed) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  spm_kv *kv = filled_store(path);
  kv_leave(kv);
  scenery before = look(path);
  ck_assert_int_eq(open_kv(path, (spm_store_options){.recover_never = true}, &kv), SQLITE_CANTOPEN);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "recovery=none"));
  untouched(path, &before);
  spm_kv_close(kv_open(path), false);
  x_ok(open_kv(path, (spm_store_options){.recover_never = true}, &kv)); /* closed */
  kv_check(kv);
  spm_kv *other;
  x_ok(open_kv(path, (spm_store_options){.recover_never = true}, &other)); /* open */
  spm_kv_close(other, false);
  spm_kv_close(kv, false);
}
END_TEST

START_TEST(full_refuses_a_damaged_store) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  spm_kv *kv = filled_store(path);
  spm_kv_close(kv, false);
  x_ok(open_kv(path, (spm_store_options){.verify_first = true}, &kv));
  spm_kv_close(kv_open(path), false); /* others get in */
  spm_kv_close(kv, false);
  x_patch(path, "", offsetof(spm_kv_header, used), &(uint32_t){7}, sizeof(uint32_t));
  ck_assert_int_eq(open_kv(path, (spm_store_options){.verify_first = true}, &kv), SQLITE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(spm_last_error(), "recovery=full found: "));
  ck_assert(!x_exists(path, "-pmlog"));
  spm_kv_close(kv_open(path), false);
}
END_TEST

/* ------------------------------------------------------- nobody else gets in -- */

static spm_conn *begin_to_verify(const char *path) {
  spm_conn *c;
  spm_store_options options = {.log_size_max = 10u << 20, .verify_first = true};
  x_ok(spm_store_join(path, &spm_kv_host, &options, &c));
  ck_assert(spm_conn_must_verify(c));
  return c;
}

static int end_life(void *argument) { return (void)argument, SQLITE_OK; }

static void must_wait(void *path) {
  spm_kv *kv;
  ck_assert_int_eq(kv_try_open(path, &kv), SQLITE_BUSY);
  ck_assert_int_eq(open_kv(path, (spm_store_options){.verify_first = true}, &kv), SQLITE_BUSY);
}

static void verify_and_die(void *path) {
  (void)begin_to_verify(path);
  (void)raise(SIGKILL);
}

START_TEST(nobody_else_gets_in_before_it_is_verified) {
  x_medium(_i);
  const char *path = kv_path("x.kv");
  kv_leave(filled_store(path));
  spm_conn *c = begin_to_verify(path), *own;
  must_wait((void *)(uintptr_t)path);
  ck_assert(x_finished(x_child(must_wait, (void *)(uintptr_t)path)));
  x_ok(spm_store_join(path, &spm_kv_host, &(spm_store_options){.verifying = true}, &own));
  ck_assert(!spm_conn_must_verify(own));
  spm_store_detach(own, end_life, NULL);
  x_ok(spm_conn_verified(c));
  spm_kv *kv = kv_open(path);
  kv_check(kv);
  kv_leave(kv);
  x_detach_dirty(c);
  ck_assert(x_killed(x_child(verify_and_die, (void *)(uintptr_t)path)));
  kv = kv_open(path); /* the dead verify nothing */
  kv_check(kv);
  spm_kv_close(kv, false);
}
END_TEST

TCase *recovery_modes_case(void) {
  TCase *modes = tcase_create("recovery modes");
  tcase_set_timeout(modes, 60);
  tcase_add_loop_test(modes, none_refuses_what_a_crash_left, 0, MEDIA);
  tcase_add_loop_test(modes, none_refuses_what_stock_left, 0, MEDIA);
  tcase_add_loop_test(modes, none_opens_what_needs_no_recovery, 0, MEDIA);
  tcase_add_loop_test(modes, full_refuses_damage, 0, MEDIA);
  tcase_add_loop_test(modes, full_refuses_a_damaged_schema, 0, MEDIA);
  tcase_add_loop_test(modes, full_looks_at_what_was_recovered, 0, MEDIA);
  tcase_add_loop_test(modes, full_says_what_it_cannot_verify, 0, MEDIA);
  tcase_add_loop_test(modes, none_refuses_a_store_that_crashed, 0, X_MEDIA);
  tcase_add_loop_test(modes, full_refuses_a_damaged_store, 0, X_MEDIA);
  tcase_add_loop_test(modes, nobody_else_gets_in_before_it_is_verified, 0, X_MEDIA);
  return modes;
}
