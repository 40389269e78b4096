/*
** key_operations.c - the operations of the key-value table; see operations.h.
**
** The database has the tables `keys` and `later` in the store beside it, and `t` of its
** own.  A transaction that changes keys alone is the store's; one that changes `t` as well
** is both's (K1, K2), on whatever VFS the database is.
*/
#include "operations.h"

#include "inject.h"

#include "../../ext/kv/decision.h"
#include "../../ext/kv/kvcheck.h"
#include "../../ext/kv/kvstore.h"
#include "../../ext/kv/table.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- prepare -- */

static void use(world *w, const char *image, const char *vfs) {
  w->keys = true;
  w->vfs = vfs;
  world_use(w, image, "a.db");
}

static void closed(world *w) { use(w, "keys", NULL); }
static void crashed(world *w) { use(w, "crashed keys", NULL); }
static void fresh(world *w) {
  use(w, "plain", NULL);
  w->db = world_attached(w, "a.db");
  w->aside = "a.db-pmemkv";
  world_run(w->db, "CREATE VIRTUAL TABLE later USING pmemkv(path='second.kv')");
}

/* The journal is hot, so the row is not there; or it is gone, and the row is. */
static void undecided(world *w) {
  w->keys = true;
  w->vfs = "unix";
  world_use_prepared_keys(w);
}
static void decided(world *w) {
  undecided(w);
  world_must(unlink(world_path(w, "a.db-journal")) == 0, "no journal to remove");
}

/* Each connection has met its tables, and attached to the store. */
static const char *const meet = "SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM later)";

static void attach_on(world *w, const char *image, const char *vfs) {
  use(w, image, vfs);
  w->db = world_attached(w, "a.db");
  world_run(w->db, meet);
}
static void attached(world *w) { attach_on(w, "keys", NULL); }
static void on_journal(world *w) { attach_on(w, "keys", "unix"); }
static void on_wal(world *w) { attach_on(w, "wal keys", "unix"); }
static void with_other(world *w) {
  attached(w);
  w->other = world_attached(w, "a.db");
  world_run(w->other, meet);
}
static void only_other(world *w) {
  closed(w);
  w->other = world_attached(w, "a.db");
  world_run(w->other, meet);
}
static void two_stores(world *w) {
  attached(w);
  w->aside = "second.kv";
  world_run(w->db, "CREATE VIRTUAL TABLE second USING pmemkv(path='second.kv'); INSERT INTO second VALUES(1, 'one')");
}

/* In a transaction that has written, while another connection has committed. */
static void overtaken(world *w) {
  attached(w);
  char *sql = sqlite3_mprintf("CREATE VIRTUAL TABLE temp.keys USING pmemkv(path='%q-pmemkv', isolation=serializable)",
                              world_path(w, "a.db"));
  world_must(sqlite3_open(":memory:", &w->other) == SQLITE_OK, "a connection in memory");
  world_must(spm_table_register(w->other) == SQLITE_OK, "the module");
  world_run(w->other, sql);
  world_run(w->db, sql);
  sqlite3_free(sql);
  world_run(w->db, "BEGIN; SELECT count(*) FROM temp.keys WHERE key > 'user:7'; UPDATE temp.keys SET value = 'mine' WHERE key < 'user:2'");
  world_run(w->other, "UPDATE temp.keys SET value = 'theirs' WHERE key GLOB 'user:5*'");
}
static void many_deleted(world *w) {
  attached(w);
  world_run(w->db, "DELETE FROM keys WHERE key = 'large' OR key > 'user:9'");
}
static void into_target(world *w) {
  attached(w);
  w->target = "copy.kv";
}

/* -------------------------------------------------------------------- act -- */

static int open_and(world *w, const char *sql) {
  int rc = world_open(w, "a.db", w->vfs ? w->vfs : "pmem", NULL, &w->db);
  w->unopened = rc != SQLITE_OK;
  return rc == SQLITE_OK ? world_sql(w->db, sql) : rc;
}
static int open_and_read(world *w) { return open_and(w, "SELECT sum(length(value)) FROM keys"); }
static int open_and_put(world *w) {
  int rc = open_and(w, "SELECT 1");
  return rc == SQLITE_OK ? world_commit(w, w->db, "INSERT INTO keys VALUES('new', 1)") : rc;
}

static int create(world *w) {
  int rc = world_commit(w, w->db, "CREATE VIRTUAL TABLE keys USING pmemkv()");
  return rc == SQLITE_OK ? world_commit(w, w->db, "INSERT INTO keys VALUES('first', zeroblob(5000))") : rc;
}

static int scan(world *w) {
  return world_sql(w->db, "SELECT * FROM keys WHERE key BETWEEN 'user:2' AND 'user:4' ORDER BY key DESC;"
                          "SELECT value FROM keys WHERE key IN (1, 'user:5', 'large', x'00');"
                          "SELECT count(*) FROM keys WHERE key GLOB 'user:1*'; SELECT max(value) FROM keys");
}
static int put(world *w) {
  int rc = world_commit(w, w->db, "INSERT INTO keys VALUES('user:1000', 'one more')");
  return rc == SQLITE_OK ? world_commit(w, w->db, "UPDATE keys SET value = 'another' WHERE key = 'user:7'") : rc;
}
static int put_large(world *w) {
  return world_commit(w, w->db, "INSERT OR REPLACE INTO keys VALUES('large', zeroblob(200000)), ('larger', zeroblob(300000))");
}
static int batch(world *w) {
  return world_commit(w, w->db,
                      "BEGIN; INSERT INTO keys SELECT key || ':copy', value FROM keys WHERE key > 'user:';"
                      "DELETE FROM keys WHERE key GLOB 'user:2*'; UPDATE keys SET key = key || 'x' WHERE key GLOB 'user:3*'; COMMIT");
}
static int delete_all(world *w) { return world_commit(w, w->db, "DELETE FROM keys"); }
static int roll_back(world *w) {
  return world_sql(w->db, "BEGIN; DELETE FROM keys WHERE key > 'user:3'; INSERT INTO later VALUES(5, 5); UPDATE t SET v = 0; ROLLBACK");
}
static int savepoints(world *w) {
  return world_commit(w, w->db,
                      "BEGIN; UPDATE keys SET value = 1 WHERE key < 'user:2'; SAVEPOINT s; DELETE FROM keys; INSERT INTO keys VALUES(9, 9);"
                      "ROLLBACK TO s; INSERT INTO keys VALUES(10, 10); RELEASE s; COMMIT");
}
static int failed_statement(world *w) {
  int rc = world_sql(w->db, "BEGIN; INSERT INTO keys VALUES(10, 10)");
  if (rc == SQLITE_OK) {
    rc = world_sql(w->db, "INSERT INTO keys VALUES(11, 11), (12, 12), (10, 13)");
    if (rc == SQLITE_CONSTRAINT_PRIMARYKEY) rc = SQLITE_OK;
  }
  return rc == SQLITE_OK ? world_commit(w, w->db, "COMMIT") : rc;
}
static int commit(world *w) { return world_commit(w, w->db, "COMMIT"); }
static int both(world *w) {
  int rc = world_commit(w, w->db, "BEGIN; UPDATE t SET v = v + 1; UPDATE keys SET value = 'both' WHERE key > 'user:8'; COMMIT");
  return rc == SQLITE_OK ? world_commit(w, w->db, "BEGIN; DELETE FROM t WHERE k = 3; DELETE FROM keys WHERE key = 1; COMMIT") : rc;
}
static int two(world *w) {
  return world_commit(w, w->db, "BEGIN; UPDATE keys SET value = 'two' WHERE key > 'user:8'; INSERT INTO second VALUES(2, 'two'); COMMIT");
}
static int all_three(world *w) {
  return world_commit(w, w->db, "BEGIN; UPDATE t SET v = 3; INSERT INTO keys VALUES(3, 3); INSERT INTO second VALUES(3, 3); COMMIT");
}

/* The tree goes with the commit of the schema (K3); with the last one the store itself. */
static int drop(world *w) { return world_commit(w, w->db, "DROP TABLE keys"); }
static int rename_it(world *w) {
  return world_commit(w, w->db, "BEGIN; INSERT INTO keys VALUES('renamed', 1); ALTER TABLE keys RENAME TO locks; UPDATE t SET v = 4; COMMIT");
}
static int create_and_roll_back(world *w) {
  return world_sql(w->db, "BEGIN; CREATE VIRTUAL TABLE more USING pmemkv(); INSERT INTO more VALUES(1, 1); DROP TABLE keys; ROLLBACK");
}

/* What the functions pmem_check(), pmem_shrink() and pmem_checkpoint() do. */
static bool ignore(void *argument, const char *text) { return (void)argument, (void)text, true; }

static int open_store(world *w, spm_kv **kv) {
  char path[600];
  (void)snprintf(path, sizeof path, "%s", world_path(w, "a.db-pmemkv"));
  *kv = NULL;
  return spm_kv_open(path, &(spm_kv_options){0}, kv);
}
static int with_store(world *w, int (*work)(spm_kv *)) {
  spm_kv *kv;
  int rc = open_store(w, &kv);
  if (rc == SQLITE_OK) rc = work(kv);
  spm_kv_close(kv, false);
  return rc;
}
static int check_it(spm_kv *kv) { return spm_kv_check(kv, ignore, NULL); }
static int check(world *w) { return with_store(w, check_it); }
static int shrink(world *w) { return with_store(w, spm_kv_shrink); }
static int checkpoint(world *w) { return with_store(w, spm_kv_checkpoint); }

/* What pmem_backup() does. */
static int copy(world *w) {
  char path[600];
  uint64_t blocks;
  spm_kv *kv;
  (void)snprintf(path, sizeof path, "%s", world_path(w, w->target));
  int rc = open_store(w, &kv);
  if (rc == SQLITE_OK) rc = spm_kv_copy(kv, path, &blocks);
  spm_kv_close(kv, false);
  bool left = access(path, F_OK) == 0 && !fault_hit(F_unlink);
  world_must(rc == SQLITE_OK || !left, "a copy that failed is left behind");
  return rc;
}

/* What pmem_resolve() does, while the database that decides is not where it was.  It is back
** before anything is looked at, and would decide alike. */
static int resolve(world *w) {
  char database[600], away[600], store[600];
  bool asked = false;
  (void)snprintf(database, sizeof database, "%s", world_path(w, "a.db"));
  (void)snprintf(away, sizeof away, "%s", world_path(w, "away"));
  (void)snprintf(store, sizeof store, "%s", world_path(w, "a.db-pmemkv"));
  world_must(rename(database, away) == 0, "no database to move");
  int rc = spm_decision_settle(store, false, &asked);
  world_must(rename(away, database) == 0, "no database to move back");
  world_must(rc != SQLITE_OK || asked, "nothing was in doubt");
  return rc;
}
static int close_it(world *w) {
  int rc = sqlite3_close(w->db);
  w->db = NULL;
  return rc;
}

const operation key_operations[] = {
    {.name = "keys: create", .prepare = fresh, .act = create, .commits = 2, .stride = 5},
    {.name = "keys: open", .prepare = closed, .act = open_and_read, .stride = 5},
    {.name = "keys: open and put", .prepare = closed, .act = open_and_put, .commits = 1, .stride = 5},
    {.name = "keys: join", .prepare = only_other, .act = open_and_read, .stride = 3},
    {.name = "keys: recover", .prepare = crashed, .act = open_and_read, .stride = 7},
    {.name = "keys: recover, undecided", .prepare = undecided, .act = open_and_read, .stride = 5},
    {.name = "keys: recover, decided", .prepare = decided, .act = open_and_read, .stride = 5},
    {.name = "keys: resolve", .prepare = undecided, .act = resolve, .stride = 3},
    {.name = "keys: scan", .prepare = attached, .act = scan},
    {.name = "keys: put", .prepare = attached, .act = put, .commits = 2},
    {.name = "keys: put, shared", .prepare = with_other, .act = put, .commits = 2},
    {.name = "keys: put, large", .prepare = attached, .act = put_large, .commits = 1, .stride = 5},
    {.name = "keys: batch", .prepare = attached, .act = batch, .commits = 1},
    {.name = "keys: delete", .prepare = attached, .act = delete_all, .commits = 1},
    {.name = "keys: rollback", .prepare = attached, .act = roll_back},
    {.name = "keys: savepoints", .prepare = attached, .act = savepoints, .commits = 1},
    {.name = "keys: failed statement", .prepare = attached, .act = failed_statement, .commits = 1},
    {.name = "keys: validate", .prepare = overtaken, .act = commit, .commits = 1},
    {.name = "keys: with tables", .prepare = attached, .act = both, .commits = 2},
    {.name = "keys: with stock tables", .prepare = on_journal, .act = both, .commits = 2},
    {.name = "keys: with a WAL", .prepare = on_wal, .act = both, .commits = 2},
    {.name = "keys: two stores", .prepare = two_stores, .act = two, .commits = 1},
    {.name = "keys: two, with tables", .prepare = two_stores, .act = all_three, .commits = 1},
    {.name = "keys: drop", .prepare = attached, .act = drop, .commits = 1},
    {.name = "keys: rename", .prepare = attached, .act = rename_it, .commits = 1, .stride = 3},
    {.name = "keys: DDL, rolled back", .prepare = attached, .act = create_and_roll_back, .stride = 3},
    {.name = "keys: copy", .prepare = into_target, .act = copy},
    {.name = "keys: check", .prepare = attached, .act = check},
    {.name = "keys: shrink", .prepare = many_deleted, .act = shrink},
    {.name = "keys: checkpoint", .prepare = attached, .act = checkpoint},
    {.name = "keys: close", .prepare = attached, .act = close_it, .stride = 3},
    {.name = "keys: close, not the last", .prepare = with_other, .act = close_it},
};
const size_t key_operation_count = sizeof key_operations / sizeof *key_operations;
