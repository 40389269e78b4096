/*
** test_ddl.c - CREATE, DROP and RENAME of pmemkv tables, and reading, as parts of a SQL
** transaction (K3): taken back whole, by savepoints in every order, by a crash at every step.
*/
#include "database.h"
#include "fixture.h"
#include "scarce.h"
#include "steps.h"

#include "../ext/kv/kvcheck.h"
#include "../ext/kv/kvstore.h"
#include "../ext/kv/table.h"
#include "../vfs/store/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a table can be: of which schema, in a database on which VFS. */
typedef struct home {
  const char *vfs, *journal_mode, *schema;
  bool lasting; /* the schema survives the process */
} home;

static const home homes[] = {
    {"unix", "DELETE", "main", true}, {"unix", "WAL", "main", true},     {"pmem", "DELETE", "main", true},
    {"memory", "MEMORY", "main", false}, {"unix", "DELETE", "temp", false}, {"memory", "MEMORY", "temp", false},
};
enum { HOMES = sizeof homes / sizeof *homes, LASTING = 3 };

static const char *store, *database; /* for the test's children as well */

static void choose_paths(void) {
  store = path_on(ON_PMEM, "s.kv");
  database = path_on(ON_PMEM, "main.db");
}

static sqlite3 *meet(const home *h) {
  sqlite3 *db;
  if (strcmp(h->vfs, "memory") == 0) {
    x_ok(sqlite3_open(":memory:", &db));
    x_ok(sqlite3_extended_result_codes(db, 1));
  } else {
    db = open_with(database, h->vfs, NULL);
  }
  x_ok(spm_table_register(db));
  run(db, "PRAGMA journal_mode = %s", h->journal_mode);
  return db;
}

/* USING pmemkv(...), of a store that all tables share. */
static void make(sqlite3 *db, const home *h, const char *name) {
  run(db, "CREATE VIRTUAL TABLE %s.%s USING pmemkv(path='%s')", h->schema, name, store);
}

/* A connection of its own, in memory, with the table. */
static sqlite3 *other_with(const char *name, const char *options) {
  sqlite3 *db;
  x_ok(sqlite3_open(":memory:", &db));
  x_ok(sqlite3_extended_result_codes(db, 1));
  x_ok(spm_table_register(db));
  run(db, "CREATE VIRTUAL TABLE %s USING pmemkv(path='%s'%s)", name, store, options);
  return db;
}

/* The trees that the store has now, joined by commas; "-": there is no store. */
static const char *trees(void) {
  static char names[4 * SPM_KV_NAME_MAX];
  char name[SPM_KV_NAME_MAX + 1] = "\x20";
  spm_kv *kv;
  names[0] = 0;
  if (!exists(store)) return "-";
  x_ok(spm_kv_open(store, &(spm_kv_options){0}, &kv));
  x_ok(spm_kv_snapshot_begin(kv));
  while (spm_kv_tree_next(kv, name, name) == SQLITE_OK)
    (void)sqlite3_snprintf((int)(sizeof names - strlen(names)), names + strlen(names), "%s%s", names[0] ? "," : "", name);
  spm_kv_snapshot_end(kv);
  spm_kv_close(kv, true);
  return names;
}
#define expect_trees(wanted) ck_assert_str_eq(trees(), wanted)

/* ---------------------------------------------------------------- rolled back -- */

START_TEST(a_table_rolled_back_was_never_there) {
  const home *h = &homes[_i];
  sqlite3 *db = meet(h);
  run(db, "BEGIN");
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(1, 'one'), (2, 'two')");
  expect(db, "SELECT * FROM t", "1|one 2|two");
  expect_trees("");
  run(db, "ROLLBACK");
  expect_code(db, "SELECT * FROM t", SQLITE_ERROR);
  ck_assert(!exists(store));
  make(db, h, "t"); /* and may come again */
  expect(db, "SELECT count(*) FROM t", "0");
  expect_trees("t");
  run(db, "DROP TABLE t");
  ck_assert(!exists(store));
  close_db(db);
}
END_TEST

START_TEST(a_dropped_table_comes_back_with_what_was_in_it) {
  const home *h = &homes[_i];
  sqlite3 *db = meet(h);
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(1, 'one'), (2, 'two')");
  run(db, "BEGIN; DELETE FROM t WHERE key = 1; DROP TABLE t");
  expect_code(db, "SELECT * FROM t", SQLITE_ERROR);
  expect_trees("t");
  run(db, "ROLLBACK");
  expect(db, "SELECT * FROM t", "1|one 2|two");
  run(db, "BEGIN; INSERT INTO t VALUES(3, 'three'); ALTER TABLE t RENAME TO u; INSERT INTO u VALUES(4, 'four')");
  expect(db, "SELECT * FROM u", "1|one 2|two 3|three 4|four");
  run(db, "ROLLBACK");
  expect(db, "SELECT * FROM t", "1|one 2|two");
  expect_trees("t");
  /* The file goes with the last table, when that is certain. */
  run(db, "BEGIN; DROP TABLE t");
  ck_assert(exists(store));
  run(db, "COMMIT");
  ck_assert(!exists(store));
  close_db(db);
}
END_TEST

/* What is committed is what the statements said, and another connection sees it. */
START_TEST(a_name_can_be_used_again) {
  const home *h = &homes[_i];
  sqlite3 *db = meet(h);
  make(db, h, "t");
  make(db, h, "u");
  run(db, "INSERT INTO t VALUES(1, 'old'), (2, 'old'); INSERT INTO u VALUES(1, 'u')");
  run(db, "BEGIN; UPDATE t SET value = 'lost'; DROP TABLE t");
  make(db, h, "t");
  expect(db, "SELECT count(*) FROM t", "0");
  run(db, "INSERT INTO t VALUES(2, 'new')");
  run(db, "ALTER TABLE u RENAME TO v; ALTER TABLE t RENAME TO u; ALTER TABLE v RENAME TO t; INSERT INTO t VALUES(5, 't')");
  expect(db, "SELECT * FROM t", "1|u 5|t");
  expect(db, "SELECT * FROM u", "2|new");
  expect_trees("t,u");
  run(db, "COMMIT");
  expect_trees("t,u");
  sqlite3 *other = other_with("t", "");
  expect(other, "SELECT * FROM t", "1|u 5|t");
  expect(db, "SELECT * FROM t", "1|u 5|t");
  expect(db, "SELECT * FROM u", "2|new");
  close_db(other);
  close_db(db);
  if (h->lasting) {
    db = meet(h);
    expect(db, "SELECT * FROM u", "2|new");
    expect(db, "SELECT * FROM t", "1|u 5|t");
    close_db(db);
  }
}
END_TEST

/* A COMMIT that is refused has done nothing, and can be repeated. */
static int refuse(void *unused) {
  (void)unused;
  return 1;
}

START_TEST(a_refused_commit_drops_nothing) {
  const home *h = &homes[_i];
  sqlite3 *db = meet(h);
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(1, 'one'); CREATE TABLE o(x)");
  (void)sqlite3_commit_hook(db, refuse, NULL);
  expect_code(db, "DROP TABLE t", SQLITE_CONSTRAINT_COMMITHOOK);
  expect_code(db, "BEGIN; INSERT INTO o VALUES(1); ALTER TABLE t RENAME TO u; COMMIT", SQLITE_CONSTRAINT_COMMITHOOK);
  expect(db, "SELECT * FROM t", "1|one");
  (void)sqlite3_commit_hook(db, NULL, NULL);
  expect(db, "SELECT * FROM t", "1|one");
  run(db, "ALTER TABLE t RENAME TO u; INSERT INTO o VALUES(1)");
  expect(db, "SELECT * FROM u", "1|one");
  expect_trees("u");
  close_db(db);
}
END_TEST

/* ---------------------------------------------------- every order of savepoints -- */

/* What is done to the tables a and b; `$` is where the step is in its sequence.  Ordinary
** tables say what the answer is. */
static const char *const steps[] = {"create", "DROP TABLE a", "INSERT OR REPLACE INTO a VALUES($, $)",
                                    "ALTER TABLE a RENAME TO b", "ALTER TABLE b RENAME TO a",
                                    "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s", "DELETE FROM a WHERE key < $"};
enum { STEPS = sizeof steps / sizeof *steps, LONGEST = 40 };

typedef struct contest {
  const home *home;
  sqlite3 *kv, *plain;
  int done[LONGEST], count; /* the sequence, for the report */
  bool commit;
} contest;

static const char *told(const contest *c) {
  static char line[LONGEST * 48];
  line[0] = 0;
  for (int i = 0; i < c->count; i++)
    (void)snprintf(line + strlen(line), sizeof line - strlen(line), "%s; ", steps[c->done[i]]);
  (void)snprintf(line + strlen(line), sizeof line - strlen(line), "%s", c->commit ? "COMMIT" : "ROLLBACK");
  return line;
}

static void make_a(const contest *c, sqlite3 *db, int *code) {
  if (db == c->plain)
    *code = code_of(db, "CREATE TABLE a(key PRIMARY KEY NOT NULL, value) WITHOUT ROWID");
  else
    *code = code_of(db, "CREATE VIRTUAL TABLE %s.a USING pmemkv(path='%s')", c->home->schema, store);
}

static int do_step(const contest *c, sqlite3 *db, int step, int at) {
  int code;
  char sql[100];
  if (step == 0) {
    make_a(c, db, &code);
    return code;
  }
  const char *hole = strchr(steps[step], '$');
  if (hole == NULL) return code_of(db, "%s", steps[step]);
  (void)snprintf(sql, sizeof sql, "%.*s%d", (int)(hole - steps[step]), steps[step], at);
  const char *second = strchr(hole + 1, '$');
  if (second != NULL) (void)snprintf(sql + strlen(sql), sizeof sql - strlen(sql), ", %d)", at);
  return code_of(db, "%s", sql);
}

/* The rows, or that there is no table. */
static const char *state(sqlite3 *db, const char *table) {
  char sql[60];
  (void)snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY key", table);
  return code_of(db, "%s", sql) == SQLITE_OK ? text(db, sql) : "none";
}

static void compare(const contest *c, const char *when) {
  static const char *const tables[] = {"a", "b"};
  for (int i = 0; i < 2; i++) {
    char wanted[500];
    (void)snprintf(wanted, sizeof wanted, "%s", state(c->plain, tables[i]));
    const char *got = state(c->kv, tables[i]);
    ck_assert_msg(strcmp(got, wanted) == 0, "%s, %s: table %s has [%s], not [%s]", told(c), when, tables[i], got, wanted);
  }
}

/* The store has a tree for each table, and none besides. */
static void compare_trees(const contest *c) {
  bool a = strcmp(state(c->plain, "a"), "none") != 0, b = strcmp(state(c->plain, "b"), "none") != 0;
  const char *wanted = a && b ? "a,b" : a ? "a" : b ? "b" : "-";
  ck_assert_msg(strcmp(trees(), wanted) == 0, "%s: the store has the trees [%s], not [%s]", told(c), trees(), wanted);
}

/* Without an anchor the first to need it makes it, wherever that is. */
static void begin_contest(const contest *c, bool anchored) {
  sqlite3 *const both[] = {c->kv, c->plain};
  for (int i = 0; i < 2; i++) {
    int code;
    run(both[i], "DROP TABLE IF EXISTS a; DROP TABLE IF EXISTS b");
    make_a(c, both[i], &code);
    x_ok(code);
    run(both[i], "INSERT INTO a VALUES(0, 'first')");
    if (both[i] == c->kv && !anchored) run(c->kv, "DROP TABLE pmemkv_anchor");
    run(both[i], "BEGIN");
  }
}

static void play(contest *c) {
  begin_contest(c, c->count % 2 == 0);
  for (int i = 0; i < c->count; i++) {
    int wanted = do_step(c, c->plain, c->done[i], i), got = do_step(c, c->kv, c->done[i], i);
    ck_assert_msg((wanted == SQLITE_OK) == (got == SQLITE_OK), "%s: %s gives %d, not %d (%s)", told(c), steps[c->done[i]],
                  got, wanted, sqlite3_errmsg(c->kv));
  }
  compare(c, "before the end");
  run(c->plain, c->commit ? "COMMIT" : "ROLLBACK");
  run(c->kv, c->commit ? "COMMIT" : "ROLLBACK");
  compare(c, "at the end");
  compare_trees(c);
}

static contest open_contest(const home *h) {
  contest c = {.home = h, .kv = meet(h)};
  x_ok(sqlite3_open(":memory:", &c.plain));
  return c;
}

static void close_contest(const contest *c) {
  close_db(c->kv);
  close_db(c->plain);
}

/* All sequences of three steps; in one connection, so that each begins where others ended. */
START_TEST(short_sequences_of_ddl_and_savepoints) {
  contest c = open_contest(&homes[_i]);
  for (int n = 0; n < STEPS * STEPS * STEPS * 2; n++) {
    int rest = n / 2;
    c.commit = n % 2 == 0;
    for (c.count = 0; c.count < 3; rest /= STEPS) c.done[c.count++] = rest % STEPS;
    play(&c);
  }
  close_contest(&c);
}
END_TEST

/* A savepoint that is older than all that the transaction has changed in the store, told again
** when a table joins that was renamed meanwhile: its place is the beginning, not there. */
START_TEST(a_savepoint_from_before_stays_there) {
  static const int sequences[][8] = {{5, 8, 5, 7, 3, 4, 2, 6}, {5, 1, 0, 3, 4, 2, 6, 7}, {5, 3, 4, 8, 3, 4, 2, 6}};
  contest c = open_contest(&homes[_i]);
  for (int n = 0; n < 4 * (int)(sizeof sequences / sizeof *sequences); n++) {
    c.commit = n % 2 == 0;
    c.count = 8;
    memcpy(c.done, sequences[n / 4], sizeof sequences[0]);
    if (n / 2 % 2 == 0) c.done[c.count++] = 7; /* and without an anchor */
    play(&c);
  }
  close_contest(&c);
}
END_TEST

START_TEST(long_sequences_of_ddl_and_savepoints) {
  uint64_t seed = x_seed();
  contest c = open_contest(&homes[_i]);
  for (int n = 0; n < 80; n++) {
    c.commit = x_random(&seed) % 3 != 0;
    c.count = 4 + (int)(x_random(&seed) % (LONGEST - 4));
    for (int i = 0; i < c.count; i++) c.done[i] = (int)(x_random(&seed) % STEPS);
    play(&c);
  }
  close_contest(&c);
}
END_TEST

/* -------------------------------------------------------------- lack of memory -- */

/* The n-th allocation fails, for every n: an error, and all is as before. */
START_TEST(lack_of_memory_is_no_half_a_transaction) {
  static const char format[] = "BEGIN; SELECT * FROM t; DROP TABLE t; CREATE VIRTUAL TABLE %s.t USING pmemkv(path='%s');"
                               "INSERT INTO t VALUES(2, 'new'); SAVEPOINT s; ALTER TABLE t RENAME TO u; DROP TABLE u;"
                               "ROLLBACK TO s; ALTER TABLE t RENAME TO w; COMMIT";
  const home *h = &homes[_i];
  char sql[1000];
  unsigned failed = 0;
  int rc = SQLITE_NOMEM;
  (void)snprintf(sql, sizeof sql, format, h->schema, store);
  scarce_install();
  for (long n = 0; rc == SQLITE_NOMEM; n++) {
    sqlite3 *db = meet(h);
    make(db, h, "t");
    run(db, "INSERT INTO t VALUES(1, 'old')");
    if (n % 2 == 0) run(db, "DROP TABLE pmemkv_anchor"); /* it is to be made again */
    scarce_left = n;
    rc = sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? SQLITE_OK : sqlite3_extended_errcode(db);
    scarce_left = -1;
    ck_assert_msg(rc == SQLITE_OK || rc == SQLITE_NOMEM, "%ld: %d %s", n, rc, sqlite3_errmsg(db));
    failed += rc == SQLITE_NOMEM;
    if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
    expect(db, rc == SQLITE_OK ? "SELECT * FROM w" : "SELECT * FROM t", rc == SQLITE_OK ? "2|new" : "1|old");
    expect_trees(rc == SQLITE_OK ? "w" : "t");
    run(db, "DROP TABLE %s", rc == SQLITE_OK ? "w" : "t");
    close_db(db);
  }
  ck_assert_uint_gt(failed, 100);
}
END_TEST

/* ---------------------------------------------------------------------- crash -- */

/* Each from t with a row and u with another one; the state afterwards. */
typedef struct ending {
  const char *sql, *after;
} ending;
#define BEFORE "t(1) u(2)"
static const ending endings[] = {
    {"BEGIN; CREATE VIRTUAL TABLE w USING pmemkv(path='%s'); INSERT INTO w VALUES(3, 3); COMMIT", "t(1) u(2) w(3)"},
    {"DROP TABLE t", "u(2)"},
    {"BEGIN; DROP TABLE t; CREATE VIRTUAL TABLE t USING pmemkv(path='%s'); INSERT INTO t VALUES(4, 4); COMMIT", "t(4) u(2)"},
    {"BEGIN; ALTER TABLE t RENAME TO w; INSERT INTO w VALUES(5, 5); DROP TABLE u; COMMIT", "w(1,5)"},
    {"BEGIN; DROP TABLE t; DROP TABLE u; COMMIT", ""},
};
enum { ENDINGS = sizeof endings / sizeof *endings };

typedef struct scene {
  const home *home;
  const ending *ending;
} scene;

static void set_scene(const scene *s) {
  static const char *const suffixes[] = {"", "-journal", "-wal", "-shm", "-pmlog", "-pmshm"};
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    (void)unlink(beside(database, suffixes[i]));
    (void)unlink(beside(store, suffixes[i]));
  }
  sqlite3 *db = meet(s->home);
  make(db, s->home, "t");
  make(db, s->home, "u");
  run(db, "INSERT INTO t VALUES(1, 1); INSERT INTO u VALUES(2, 2)");
  close_db(db);
}

static void act_and_leave(void *argument) {
  const scene *s = argument;
  sqlite3 *db = meet(s->home);
  run(db, "PRAGMA synchronous = FULL; SELECT count(*) FROM t");
  step_mark();
  if (code_of(db, s->ending->sql, store) != SQLITE_OK) _exit(3);
  step_mark();
  if (sqlite3_close(db) != SQLITE_OK) _exit(4);
}

/* The tables of the schema with their keys: "t(1) u(2)". */
static const char *tables(sqlite3 *db) {
  static char all[200];
  static const char *const names[] = {"t", "u", "w"};
  all[0] = 0;
  for (int i = 0; i < 3; i++) {
    char sql[100];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM sqlite_schema WHERE name = '%s'", names[i]);
    if (number(db, sql) == 0) continue;
    (void)snprintf(sql, sizeof sql, "SELECT group_concat(key) FROM %s", names[i]);
    (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s(%s)", all[0] ? " " : "", names[i], text(db, sql));
  }
  return all;
}

/* One or the other, in the schema and in the store. */
static void verify_scene(const scene *s, int n, bool acknowledged) {
  sqlite3 *db = meet(s->home);
  const char *is = tables(db);
  bool before = strcmp(is, BEFORE) == 0, after = strcmp(is, s->ending->after) == 0;
  ck_assert_msg(before || after, "%s, step %d: [%s]", s->ending->sql, n, is);
  ck_assert_msg(after || !acknowledged, "%s, step %d: acknowledged and lost", s->ending->sql, n);
  char wanted[50] = "";
  for (const char *at = is; *at != 0; at++)
    if (at[1] == '(') (void)snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%c", wanted[0] ? "," : "", *at);
  const char *there = trees(); /* a store without tables may be left by a death at its removal */
  if (strcmp(there, "-") == 0) there = "";
  ck_assert_msg(strcmp(there, wanted) == 0, "%s, step %d: the store has [%s], the schema [%s]", s->ending->sql, n, there, is);
  integrity(db);
  close_db(db);
}

START_TEST(killed_at_every_step) {
  scene s = {&homes[_i % LASTING], &endings[_i / LASTING]};
  (void)setenv("PMEM_IS_PMEM_FORCE", _i % 2 == 0 ? "1" : "0", 1);
  int n = 1;
  for (bool killed = true; killed; n++) {
    set_scene(&s);
    step_result result = kill_at_step(n, act_and_leave, &s);
    killed = result.killed;
    verify_scene(&s, n, result.marks > 1);
  }
  ck_assert_int_gt(n, 8); /* or the steps were not seen */
}
END_TEST

/* ------------------------------------------------------------------- conflicts -- */

/* Both make it: the second one joins, unless a key says otherwise. */
START_TEST(a_table_that_others_made_first) {
  const home *h = &homes[_i];
  sqlite3 *db = meet(h);
  make(db, h, "o");
  run(db, "BEGIN");
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(1, 'mine')");
  sqlite3 *other = other_with("t", "");
  run(other, "INSERT INTO t VALUES(2, 'theirs')");
  run(db, "COMMIT");
  expect(db, "SELECT * FROM t", "1|mine 2|theirs");
  run(db, "BEGIN; DROP TABLE t");
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(2, 'again')");
  run(other, "UPDATE t SET value = 'of the old one' WHERE key = 2");
  run(db, "COMMIT"); /* what was dropped is gone, whatever was in it */
  expect(other, "SELECT * FROM t", "2|again");
  run(db, "BEGIN");
  make(db, h, "w");
  run(db, "INSERT INTO w VALUES(7, 'mine')");
  sqlite3 *third = other_with("w", "");
  run(third, "INSERT INTO w VALUES(7, 'theirs')");
  expect_code(db, "COMMIT", SQLITE_BUSY_SNAPSHOT);
  ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(db), "key 7 of table w"));
  ck_assert_int_eq(sqlite3_get_autocommit(db), 1);
  expect_code(db, "SELECT * FROM w", SQLITE_ERROR); /* the loser's CREATE went with the rest */
  expect(third, "SELECT * FROM w", "7|theirs");
  close_db(third);
  close_db(other);
  close_db(db);
}
END_TEST

START_TEST(a_name_that_others_took_first) {
  const home *h = &homes[_i];
  sqlite3 *db = meet(h);
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(1, 'mine'); BEGIN; ALTER TABLE t RENAME TO u");
  sqlite3 *other = other_with("u", "");
  expect_code(db, "COMMIT", SQLITE_BUSY_SNAPSHOT);
  ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(db), "table u was made by a transaction that committed first"));
  expect(db, "SELECT * FROM t", "1|mine");
  expect_code(db, "ALTER TABLE t RENAME TO u", SQLITE_CONSTRAINT);
  expect(db, "SELECT * FROM t", "1|mine");
  run(other, "DROP TABLE u");
  run(db, "BEGIN; ALTER TABLE t RENAME TO u; COMMIT");
  expect(db, "SELECT * FROM u", "1|mine");
  close_db(other);
  close_db(db);
}
END_TEST

/* Processes that make, fill, rename and drop the same tables: what they may be told is that
** others were there first.  `$` is the store. */
static const char *const moves[] = {
    "CREATE VIRTUAL TABLE IF NOT EXISTS t USING pmemkv(path='$')",
    "BEGIN; CREATE VIRTUAL TABLE IF NOT EXISTS t USING pmemkv(path='$'); REPLACE INTO t VALUES('k', 1), ('l', 2); COMMIT",
    "BEGIN; CREATE VIRTUAL TABLE IF NOT EXISTS t USING pmemkv(path='$'); REPLACE INTO t VALUES('k', 3); ROLLBACK",
    "DROP TABLE IF EXISTS t",
    "BEGIN; DROP TABLE IF EXISTS t; CREATE VIRTUAL TABLE t USING pmemkv(path='$'); INSERT INTO t VALUES('k', 4); COMMIT",
    "BEGIN; DROP TABLE IF EXISTS u; ALTER TABLE t RENAME TO u; INSERT INTO u VALUES(5, 5); COMMIT",
    "BEGIN; SELECT count(*) FROM t; DROP TABLE t; ROLLBACK"};
enum { MOVES = sizeof moves / sizeof *moves, MOVERS = 4, MOVES_EACH = 150 };

static bool may_be_told(sqlite3 *db, int code) {
  if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY || code == SQLITE_CONSTRAINT || code == SQLITE_CONSTRAINT_PRIMARYKEY)
    return true;
  const char *message = sqlite3_errmsg(db);
  if (code == SQLITE_CANTOPEN) return strstr(message, "there is no such file") != NULL; /* the last table is gone */
  return code == SQLITE_ERROR && (strstr(message, "dropped or renamed") || strstr(message, "to rename") ||
                                  strstr(message, "no such table") || strstr(message, "already"));
}

static void move_about(void *argument) {
  uint64_t seed = *(uint64_t *)argument;
  sqlite3 *db = meet(&homes[3]);
  for (int i = 0; i < MOVES_EACH; i++) {
    char sql[2000];
    const char *move = moves[x_random(&seed) % MOVES], *hole = strchr(move, '$');
    if (hole == NULL)
      (void)snprintf(sql, sizeof sql, "%s", move);
    else
      (void)snprintf(sql, sizeof sql, "%.*s%s%s", (int)(hole - move), move, store, hole + 1);
    int code = code_of(db, "%s", sql);
    if (!may_be_told(db, code)) {
      (void)fprintf(stderr, "  %s: %d %s\n", sql, code, sqlite3_errmsg(db));
      _exit(1);
    }
    if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
  }
  close_db(db);
  _exit(0);
}

static bool complain(void *unused, const char *text) {
  (void)unused;
  printf("  %s\n", text);
  return true;
}

START_TEST(many_make_and_drop_the_same_tables) {
  uint64_t seed = x_seed(), seeds[MOVERS];
  pid_t mover[MOVERS];
  for (int i = 0; i < MOVERS; i++) {
    seeds[i] = x_random(&seed);
    mover[i] = in_child(move_about, &seeds[i]);
  }
  for (int i = 0; i < MOVERS; i++) {
    if (_i == 1 && i == 0) {
      (void)usleep(20000);
      kill_child(mover[i]);
    } else {
      ck_assert_int_eq(child_status(mover[i]), 0);
    }
  }
  if (!exists(store)) return;
  spm_kv *kv;
  x_ok(spm_kv_open(store, &(spm_kv_options){0}, &kv));
  x_ok(spm_kv_check(kv, complain, NULL));
  spm_kv_close(kv, true);
}
END_TEST

/* --------------------------------------------------------------------- reading -- */

static int count_snapshots(void *count, const spm_reader *r) {
  *(int *)count += r->snapshot != 0;
  return SQLITE_OK;
}

static int snapshots(void) {
  int count = 0;
  x_ok(spm_inspect_readers(store, count_snapshots, &count));
  return count;
}

static sqlite3 *meet_with_rows(const home *h) {
  sqlite3 *db = meet(h);
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(1, 10), (2, 20)");
  return db;
}

START_TEST(a_transaction_that_reads_has_one_snapshot) {
  static const char *const ends[] = {"COMMIT", "ROLLBACK"};
  const home *h = &homes[_i];
  sqlite3 *db = meet_with_rows(h), *other = other_with("t", "");
  for (int i = 0; i < 2; i++) {
    run(other, "UPDATE t SET value = 10 WHERE key = 1");
    run(db, "BEGIN");
    ck_assert_int_eq(snapshots(), 0); /* it begins with the first read */
    run(other, "UPDATE t SET value = 11 WHERE key = 1");
    expect(db, "SELECT value FROM t WHERE key = 1", "11");
    ck_assert_int_eq(snapshots(), 1);
    run(other, "UPDATE t SET value = 12");
    expect(db, "SELECT value FROM t", "11 20");
    run(db, "SAVEPOINT s");
    expect(db, "SELECT sum(value) FROM t", "31");
    run(db, "ROLLBACK TO s");
    expect(db, "SELECT sum(value) FROM t", "31");
    run(db, "%s", ends[i]);
    ck_assert_int_eq(snapshots(), 0);
    expect(db, "SELECT value FROM t", "12 12");
    ck_assert_int_eq(snapshots(), 0);
    run(other, "UPDATE t SET value = 20 WHERE key = 2");
  }
  close_db(other);
  close_db(db);
}
END_TEST

/* A connection that finds the table, and has no anchor yet; a transaction that is a
** savepoint; one whose schema is read again in the middle. */
START_TEST(a_found_table_is_read_in_one_snapshot) {
  const home *h = &homes[_i]; /* that lasts */
  sqlite3 *db = meet_with_rows(h), *other = other_with("t", "");
  close_db(db);
  db = meet(h);
  run(db, "SAVEPOINT outer");
  expect(db, "SELECT value FROM t", "10 20");
  run(other, "UPDATE t SET value = value + 1");
  run(db, "SAVEPOINT inner; CREATE TABLE o(x)");
  expect(db, "SELECT value FROM t", "10 20");
  run(db, "ROLLBACK TO inner"); /* tables are connected again */
  expect(db, "SELECT value FROM t", "10 20");
  run(db, "ROLLBACK TO outer");
  expect(db, "SELECT value FROM t", "10 20");
  run(db, "RELEASE outer");
  ck_assert_int_eq(snapshots(), 0);
  expect(db, "SELECT value FROM t", "11 21");
  run(db, "BEGIN");
  expect(db, "SELECT value FROM t", "11 21");
  x_ok(sqlite3_close(db)); /* in the middle */
  ck_assert_int_eq(snapshots(), 0);
  close_db(other);
}
END_TEST

/* A write that follows belongs to what was read. */
START_TEST(what_was_read_first_is_what_is_written_to) {
  const home *h = &homes[_i];
  sqlite3 *db = meet_with_rows(h), *other = other_with("t", "");
  run(db, "BEGIN");
  expect(db, "SELECT value FROM t WHERE key = 1", "10");
  run(other, "UPDATE t SET value = 11 WHERE key = 1");
  run(db, "UPDATE t SET value = value + 5 WHERE key = 1");
  expect_code(db, "COMMIT", SQLITE_BUSY_SNAPSHOT);
  run(db, "BEGIN");
  expect(db, "SELECT value FROM t WHERE key = 1", "11");
  run(db, "UPDATE t SET value = value + 5 WHERE key = 1; COMMIT");
  expect(other, "SELECT value FROM t", "16 20");
  close_db(other);
  close_db(db);
}
END_TEST

/* Write skew by two that begin with reading: nothing but the read set sees it. */
START_TEST(the_read_set_begins_with_the_first_read) {
  static const char *const options[] = {", isolation=serializable", ""};
  sqlite3 *a = other_with("t", options[_i]), *b = other_with("t", options[_i]);
  run(a, "INSERT INTO t VALUES(1, 10), (2, 20)");
  run(a, "BEGIN");
  run(b, "BEGIN");
  expect(a, "SELECT sum(value) FROM t", "30");
  expect(b, "SELECT sum(value) FROM t", "30");
  run(a, "UPDATE t SET value = 0 WHERE key = 1; COMMIT");
  run(b, "UPDATE t SET value = 0 WHERE key = 2");
  expect_code(b, "COMMIT", _i == 0 ? SQLITE_BUSY_SNAPSHOT : SQLITE_OK);
  close_db(a);
  close_db(b);
}
END_TEST

/* As SQLite's manual has it for who closes a connection: those of virtual tables are among them. */
static void finalize_all(sqlite3 *db) {
  sqlite3_stmt *s = sqlite3_next_stmt(db, NULL);
  ck_assert_ptr_nonnull(s);
  for (; s != NULL; s = sqlite3_next_stmt(db, NULL)) x_ok(sqlite3_finalize(s));
}

static void read_in_a_transaction(sqlite3 *db) {
  run(db, "BEGIN");
  expect(db, "SELECT value FROM t", "10 20");
  run(db, "COMMIT");
}

START_TEST(an_application_may_finalize_all_statements) {
  sqlite3 *db = meet_with_rows(&homes[_i]);
  sqlite3_stmt *own;
  read_in_a_transaction(db);
  finalize_all(db);
  x_ok(sqlite3_prepare_v2(db, "SELECT 1", -1, &own, NULL)); /* where the anchor's was, perhaps */
  read_in_a_transaction(db);
  ck_assert_int_eq(sqlite3_step(own), SQLITE_ROW);
  finalize_all(db);
  x_ok(sqlite3_close(db));
}
END_TEST

/* ------------------------------------------------------------ without an anchor -- */

static int forbid_anchor(void *unused, int action, const char *table, const char *b, const char *c, const char *d) {
  (void)unused, (void)action, (void)b, (void)c, (void)d;
  return table != NULL && strcmp(table, "pmemkv_anchor") == 0 ? SQLITE_DENY : SQLITE_OK;
}

START_TEST(where_it_is_forbidden_ddl_takes_effect_at_once) {
  const home *h = &homes[_i];
  sqlite3 *db = meet(h);
  x_ok(sqlite3_set_authorizer(db, forbid_anchor, NULL));
  make(db, h, "t");
  run(db, "INSERT INTO t VALUES(1, 10)");
  sqlite3 *other = other_with("t", "");
  run(db, "BEGIN; SELECT * FROM t");
  run(other, "UPDATE t SET value = 11");
  expect(db, "SELECT value FROM t", "11");
  make(db, h, "u");
  expect_trees("t,u");
  run(db, "ALTER TABLE u RENAME TO v; DROP TABLE t");
  expect_trees("v");
  run(db, "ROLLBACK");
  expect_trees("v");
  close_db(other);
  close_db(db);
}
END_TEST

START_TEST(a_connection_for_queries_reads_by_statement) {
  const home *h = &homes[_i]; /* that lasts */
  sqlite3 *db = meet_with_rows(h), *other = other_with("t", "");
  close_db(db);
  db = meet(h);
  run(db, "PRAGMA query_only = 1; BEGIN");
  expect(db, "SELECT value FROM t", "10 20");
  run(other, "UPDATE t SET value = 11 WHERE key = 1");
  expect(db, "SELECT value FROM t", "11 20");
  run(db, "COMMIT; PRAGMA query_only = 0");
  /* A hook that refuses every commit is in nobody's way who reads. */
  close_db(db);
  db = meet(h);
  (void)sqlite3_commit_hook(db, refuse, NULL);
  expect(db, "SELECT value FROM t", "11 20");
  expect(db, "SELECT value FROM t WHERE key = 2", "20");
  close_db(other);
  close_db(db);
}
END_TEST

/* While another statement runs an anchor is not made for reading, and one that is there is
** cast; neither disturbs that statement. */
START_TEST(statements_that_run_are_left_alone) {
  const home *h = &homes[_i]; /* that lasts */
  sqlite3 *db = meet_with_rows(h);
  run(db, "CREATE TABLE o(x); INSERT INTO o VALUES(1), (2), (3)");
  close_db(db);
  db = meet(h);
  for (int i = 0; i < 2; i++) {
    sqlite3_stmt *s;
    if (i == 1) run(db, "BEGIN");
    x_ok(sqlite3_prepare_v2(db, "SELECT x, (SELECT max(x) FROM o WHERE o.x > p.x) FROM o AS p", -1, &s, NULL));
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    expect(db, "SELECT value FROM t", "10 20");
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_DONE);
    x_ok(sqlite3_finalize(s));
    if (i == 0) expect(db, "SELECT value FROM t", "10 20");
  }
  ck_assert_int_eq(snapshots(), 1);
  run(db, "COMMIT");
  ck_assert_int_eq(snapshots(), 0);
  close_db(db);
}
END_TEST

/* The anchor's table goes with the transaction that made it, with a savepoint, by a DROP: the
** next transaction has one again. */
START_TEST(an_anchor_that_is_gone_is_made_again) {
  static const char *const causes[] = {"BEGIN; SELECT * FROM t; ROLLBACK", "BEGIN; SAVEPOINT s; SELECT * FROM t; ROLLBACK TO s; COMMIT",
                                       "BEGIN; SELECT * FROM t; COMMIT; DROP TABLE pmemkv_anchor; CREATE TABLE IF NOT EXISTS o(x)"};
  sqlite3 *other = other_with("t", "");
  run(other, "INSERT INTO t VALUES(1, 0)");
  for (size_t i = 0; i < sizeof causes / sizeof *causes; i++) {
    sqlite3 *db = meet(&homes[_i]);
    run(db, "CREATE VIRTUAL TABLE IF NOT EXISTS t USING pmemkv(path='%s')", store);
    close_db(db);
    db = meet(&homes[_i]);
    run(db, "%s; BEGIN", causes[i]);
    expect(db, "SELECT count(*) FROM t", "1");
    run(other, "UPDATE t SET value = value + 1");
    ck_assert_msg(number(db, "SELECT value FROM t") == (int64_t)i, "after %s", causes[i]);
    run(db, "COMMIT");
    ck_assert_int_eq(number(db, "SELECT value FROM t"), (int64_t)i + 1);
    close_db(db);
  }
  close_db(other);
}
END_TEST

START_TEST(the_anchor_is_for_nothing_else) {
  sqlite3 *db = meet_with_rows(&homes[3]);
  expect_code(db, "INSERT INTO pmemkv_anchor VALUES(1)", SQLITE_READONLY);
  expect(db, "SELECT count(*) FROM pmemkv_anchor", "0");
  run(db, "BEGIN; SELECT * FROM t");
  expect_code(db, "DROP TABLE pmemkv_anchor", SQLITE_LOCKED);
  run(db, "COMMIT; DROP TABLE pmemkv_anchor; BEGIN; DROP TABLE t; ROLLBACK");
  expect(db, "SELECT value FROM t", "10 20");
  close_db(db);
}
END_TEST

/* ----------------------------------------------------------------------- suite -- */

static TCase *new_case(Suite *suite, const char *name) {
  TCase *c = tcase_create(name);
  tcase_set_timeout(c, 300);
  tcase_add_checked_fixture(c, choose_paths, NULL);
  suite_add_tcase(suite, c);
  return c;
}

Suite *ddl_suite(void) {
  Suite *suite = suite_create("ddl");
  TCase *c = new_case(suite, "transactional");
  tcase_add_loop_test(c, a_table_rolled_back_was_never_there, 0, HOMES);
  tcase_add_loop_test(c, a_dropped_table_comes_back_with_what_was_in_it, 0, HOMES);
  tcase_add_loop_test(c, a_name_can_be_used_again, 0, HOMES);
  tcase_add_loop_test(c, a_refused_commit_drops_nothing, 0, HOMES);
  tcase_add_loop_test(c, a_table_that_others_made_first, 0, HOMES);
  tcase_add_loop_test(c, a_name_that_others_took_first, 0, HOMES);
  tcase_add_loop_test(c, many_make_and_drop_the_same_tables, 0, 2);
  c = new_case(suite, "memory");
  tcase_add_loop_test(c, lack_of_memory_is_no_half_a_transaction, LASTING, HOMES);
  c = new_case(suite, "savepoints");
  tcase_add_loop_test(c, a_savepoint_from_before_stays_there, 0, HOMES);
  c = new_case(suite, "sequences");
  tcase_add_loop_test(c, short_sequences_of_ddl_and_savepoints, LASTING, HOMES);
  tcase_add_loop_test(c, long_sequences_of_ddl_and_savepoints, 0, HOMES);
  c = new_case(suite, "killed");
  tcase_set_tags(c, "every-step");
  tcase_add_loop_test(c, killed_at_every_step, 0, LASTING * ENDINGS);
  c = new_case(suite, "reading");
  tcase_add_loop_test(c, a_transaction_that_reads_has_one_snapshot, 0, HOMES);
  tcase_add_loop_test(c, a_found_table_is_read_in_one_snapshot, 0, LASTING);
  tcase_add_loop_test(c, an_application_may_finalize_all_statements, 0, HOMES);
  tcase_add_loop_test(c, what_was_read_first_is_what_is_written_to, 0, HOMES);
  tcase_add_loop_test(c, the_read_set_begins_with_the_first_read, 0, 2);
  tcase_add_loop_test(c, where_it_is_forbidden_ddl_takes_effect_at_once, 0, HOMES);
  tcase_add_loop_test(c, a_connection_for_queries_reads_by_statement, 0, LASTING);
  tcase_add_loop_test(c, statements_that_run_are_left_alone, 0, LASTING);
  tcase_add_loop_test(c, an_anchor_that_is_gone_is_made_again, 0, LASTING);
  tcase_add_test(c, the_anchor_is_for_nothing_else);
  return suite;
}
