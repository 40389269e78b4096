/*
** operations.c - see operations.h.  New ones go into the table at the end.
*/
#include "operations.h"

#include "inject.h"

#include "../../vfs/store/core.h"
#include "../../vfs/store/inspect.h"

#include <stdio.h>
#include <string.h>

#define TOUCH_ALL "UPDATE t SET v = v + 1, b = replace(b, 'C', 'D')"

/* ---------------------------------------------------------------- prepare -- */

static void nothing(world *w) { (void)w; }
static void plain(world *w) { world_use(w, "plain", "a.db"); }
static void hot(world *w) { world_use(w, "hot", "a.db"); }
static void wal(world *w) { world_use(w, "wal", "a.db"); }
static void persist(world *w) { world_use(w, "persist", "a.db"); }
static void crashed(world *w) { world_use(w, "crashed", "a.db"); }
static void prepared(world *w) { world_use_prepared(w); }

/* The super-journal is gone: what is prepared is committed. */
static void decided(world *w) {
  world_use_prepared(w);
  world_must(world_remove_super(w), "no super-journal");
}

static void attached(world *w) {
  plain(w);
  w->db = world_attached(w, "a.db");
}
static void with_other(world *w) {
  attached(w);
  w->other = world_attached(w, "a.db");
}
static void only_other(world *w) {
  plain(w);
  w->other = world_attached(w, "a.db");
}
/* Others need what a commit overwrites. */
static void with_snapshot(world *w) {
  with_other(w);
  world_run(w->other, "BEGIN; SELECT sum(length(b)) FROM t");
}
/* The connection needs it: it began before. */
static void overtaken(world *w) {
  with_other(w);
  world_run(w->db, "BEGIN; SELECT count(*) FROM u");
  world_run(w->other, TOUCH_ALL);
}
static void small_cache(world *w) {
  attached(w);
  world_run(w->db, "PRAGMA cache_size=5");
}
static void auto_vacuum(world *w) {
  world_use(w, "auto", "a.db");
  w->db = world_attached(w, "a.db");
}
static void auto_vacuum_shared(world *w) {
  auto_vacuum(w);
  w->other = world_attached(w, "a.db");
}
static void small_log(world *w) {
  w->options = "pmem_max_log_size=1M";
  attached(w);
}
static void asynchronous(world *w) {
  w->options = "pmem_mode=async&pmem_flush_interval=600";
  attached(w);
}
static void periodic(world *w) {
  w->options = "pmem_mode=periodic&pmem_flush_interval=600";
  attached(w);
}
static void pending(world *w) {
  asynchronous(w);
  world_run(w->db, "UPDATE t SET v = v + 5; DELETE FROM t WHERE k > 100");
}
static void recovered(world *w) {
  crashed(w);
  w->db = world_attached(w, "a.db");
  world_run(w->db, "UPDATE t SET v = v + 5");
}
static void written(world *w) {
  attached(w);
  world_run(w->db, "UPDATE t SET v = v + 5; DELETE FROM t WHERE k > 100");
}
static void free_pages(world *w) {
  attached(w);
  world_run(w->db, "DELETE FROM t WHERE k > 100");
}
static void exclusive(world *w) {
  attached(w);
  world_run(w->db, "PRAGMA locking_mode=EXCLUSIVE");
}
static void persistent_journal(world *w) {
  attached(w);
  world_run(w->db, "PRAGMA journal_mode=PERSIST");
}
static void no_journal(world *w) {
  small_cache(w);
  world_run(w->db, "PRAGMA journal_mode=OFF");
}
static void zero_copy(world *w) {
  attached(w);
  world_run(w->db, "PRAGMA mmap_size=1000000000");
}

static void attach_second(world *w, const char *vfs) {
  world_use(w, "plain", "a.db");
  world_use(w, "plain", "b.db");
  w->db = world_attached(w, "a.db");
  char *sql =
      sqlite3_mprintf("ATTACH 'file:%s?vfs=%s' AS b; SELECT count(*) FROM b.t", world_path(w, "b.db"), vfs);
  world_run(w->db, sql);
  sqlite3_free(sql);
}
static void two(world *w) { attach_second(w, "pmem"); }
static void two_with_stock(world *w) {
  w->stock_second = true;
  attach_second(w, "unix");
}

/* A writer died: before its commit record, with it but before anything was applied. */
static void dead(world *w, const char *sql, unsigned long n) {
  with_snapshot(w);
  world_must(world_content_of(w->db, &w->undecided) == SQLITE_OK, "reading");
  world_dead_writer(w, sql, n);
}
static void dead_early(world *w) { dead(w, "UPDATE t SET v = 0 WHERE k < 20", 1); }
static void dead_late(world *w) { dead(w, "UPDATE t SET v = 0 WHERE k < 20", w->on_file ? 3 : 2); }
static void dead_large(world *w) { dead(w, TOUCH_ALL, w->on_file ? 10 : 2); }

static void into_target(world *w) {
  attached(w);
  w->target = "target.db";
}
static void from_stock(world *w) {
  attached(w);
  w->stock_second = true;
  world_use(w, "auto", "b.db");
}

/* -------------------------------------------------------------------- act -- */

static int read_all(world *w) {
  uint64_t content;
  return world_content_of(w->db, &content);
}

static int open_it(world *w, const char *parameters) {
  int rc = world_open(w, "a.db", "pmem", parameters, &w->db);
  w->unopened = rc != SQLITE_OK;
  return rc;
}
static int open_and(world *w, const char *parameters, const char *sql) {
  int rc = open_it(w, parameters);
  return rc == SQLITE_OK ? world_sql(w->db, sql) : rc;
}
static int open_and_read(world *w) { return open_and(w, NULL, "SELECT sum(length(b)) FROM t"); }
static int open_read_only(world *w) { return open_and(w, "mode=ro", "SELECT sum(length(b)) FROM t"); }
static int open_immutable(world *w) { return open_and(w, "immutable=1", "SELECT sum(length(b)) FROM t"); }
static int open_verified(world *w) { return open_and(w, "pmem_recovery=full", "SELECT sum(length(b)) FROM t"); }
static int open_and_write(world *w) {
  int rc = open_it(w, NULL);
  return rc == SQLITE_OK ? world_commit(w, w->db, "UPDATE t SET v = v + 1 WHERE k < 5") : rc;
}
static int create(world *w) {
  int rc = open_it(w, NULL);
  if (rc == SQLITE_OK) rc = world_commit(w, w->db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v, b)");
  return rc == SQLITE_OK ? world_commit(w, w->db, "INSERT INTO t VALUES(1, 2, zeroblob(20000))") : rc;
}

static int commit_small(world *w) { return world_commit(w, w->db, "UPDATE t SET v = v + 1 WHERE k = 7"); }
/* A dead writer's commit may overtake the snapshot, once. */
static int commit_as_heir(world *w) {
  int rc = commit_small(w);
  return (rc & 0xff) == SQLITE_BUSY ? commit_small(w) : rc;
}
static int commit_twice(world *w) {
  int rc = commit_small(w);
  return rc == SQLITE_OK ? world_commit(w, w->db, "UPDATE t SET v = v + 1 WHERE k = 8") : rc;
}
static int commit_large(world *w) { return world_commit(w, w->db, TOUCH_ALL); }
static int roll_back(world *w) { return world_sql(w->db, "BEGIN; " TOUCH_ALL "; ROLLBACK"); }
static int savepoints(world *w) {
  return world_commit(
      w, w->db,
      "BEGIN; UPDATE t SET v = 1 WHERE k < 30; SAVEPOINT s; " TOUCH_ALL
      "; DELETE FROM t WHERE k > 20; ROLLBACK TO s; UPDATE t SET v = 2 WHERE k = 3; RELEASE s; COMMIT");
}
/* The last row meets a constraint: the statement is undone, the transaction goes on. */
static int failed_statement(world *w) {
  int rc = world_sql(w->db, "BEGIN; UPDATE t SET v = v + 1 WHERE k < 10");
  if (rc == SQLITE_OK) {
    rc = world_sql(w->db, "INSERT INTO u SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 3");
    if (rc == SQLITE_CONSTRAINT_UNIQUE) rc = SQLITE_OK;
  }
  return rc == SQLITE_OK ? world_commit(w, w->db, "COMMIT") : rc;
}
static int grow(world *w) {
  int rc = world_commit(w, w->db, "INSERT INTO t VALUES(1000, 1, zeroblob(400000))");
  return rc == SQLITE_OK ? world_commit(w, w->db, "INSERT INTO t VALUES(1001, 1, zeroblob(400000))") : rc;
}
static int shrink(world *w) {
  int rc = world_commit(w, w->db, "DELETE FROM t WHERE k > 20");
  return rc == SQLITE_OK ? world_commit(w, w->db, "INSERT INTO t VALUES(1000, 1, zeroblob(100000))") : rc;
}
static int wrap_the_log(world *w) {
  int rc = SQLITE_OK;
  for (int i = 0; rc == SQLITE_OK && i < 8; i++)
    rc = world_commit(w, w->db,
                      i % 2 ? "UPDATE t SET b = replace(b, 'Q', 'P'), v = v + 1"
                            : "UPDATE t SET b = replace(b, 'P', 'Q'), v = v + 1");
  return rc;
}

/* A write set keeps 16 blocks in memory, not 32 MiB: what is larger moves to the log. */
static void small_write_set(world *w) {
  attached(w);
  world_conn(w->db)->store->resident_max = 16;
}

static int spill_to_the_log(world *w) {
  return world_commit(w, w->db, "INSERT INTO t VALUES(1000, 1, zeroblob(2500000))");
}

static int checkpoint(world *w) {
  spm_conn *c = world_conn(w->db);
  world_must(c != NULL, "no connection to a store");
  int rc = spm_snapshot_begin(c);
  if (rc != SQLITE_OK) return rc;
  rc = spm_conn_checkpoint(c);
  spm_snapshot_end(c);
  return rc;
}

/* What pmem_flush() does. */
static int flush(world *w) {
  uint64_t lsn;
  return spm_store_flush(sqlite3_db_filename(w->db, "main"), &lsn);
}
static int commit_and_flush(world *w) {
  int rc = commit_twice(w);
  return rc == SQLITE_OK ? flush(w) : rc;
}
static int commit_asynchronously(world *w) {
  int rc = world_sql(w->db, "PRAGMA pmem_mode=async");
  return rc == SQLITE_OK ? commit_twice(w) : rc;
}
static int commit_unlogged(world *w) {
  int rc = world_sql(w->db, "PRAGMA pmem_wal=off");
  if (rc == SQLITE_OK) rc = commit_twice(w);
  return rc == SQLITE_OK ? world_sql(w->db, "PRAGMA pmem_wal=on") : rc;
}

/* What pmem_stats, pmem_readers, pmem_log and pmem_recovery do. */
static int ignore_metrics(void *ignored, const spm_metrics *m) { return (void)ignored, (void)m, SQLITE_OK; }
static int ignore_reader(void *ignored, const spm_reader *r) { return (void)ignored, (void)r, SQLITE_OK; }
static int ignore_record(void *ignored, const spm_log_item *i) { return (void)ignored, (void)i, SQLITE_OK; }
static int ignore_step(void *ignored, const spm_recovery_step *s) { return (void)ignored, (void)s, SQLITE_OK; }
static int look(world *w) {
  const char *path = sqlite3_db_filename(w->db, "main");
  int rc = spm_inspect_stores(ignore_metrics, NULL);
  if (rc == SQLITE_OK) rc = spm_inspect_readers(path, ignore_reader, NULL);
  if (rc == SQLITE_OK) rc = spm_inspect_log(path, ignore_record, NULL);
  return rc == SQLITE_OK ? spm_inspect_recovery(path, ignore_step, NULL) : rc;
}

static int vacuum(world *w) { return world_commit(w, w->db, "VACUUM"); }
static int vacuum_into(world *w) {
  char sql[600];
  (void)snprintf(sql, sizeof sql, "VACUUM INTO '%s'", world_path(w, w->target));
  return world_sql(w->db, sql);
}

static int back_up(sqlite3 *to, sqlite3 *from) {
  sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
  if (backup == NULL) return sqlite3_extended_errcode(to);
  int rc = sqlite3_backup_step(backup, -1), finished = sqlite3_backup_finish(backup);
  return rc == SQLITE_DONE ? finished : rc;
}
static int backup_to_stock(world *w) {
  int rc = world_open(w, w->target, "unix", NULL, &w->other);
  return rc == SQLITE_OK ? back_up(w->other, w->db) : rc;
}
static int backup_from_stock(world *w) {
  if (w->acknowledged == w->limit) return SQLITE_OK;
  int rc = world_open(w, "b.db", "unix", NULL, &w->other);
  if (rc == SQLITE_OK) rc = back_up(w->db, w->other);
  w->acknowledged += rc == SQLITE_OK;
  return rc;
}

static int commit_both(world *w) {
  return world_commit(w, w->db,
                      "BEGIN; UPDATE main.t SET v = v + 1 WHERE k < 9; UPDATE b.t SET v = v + 2; COMMIT");
}
static int roll_back_both(world *w) {
  return world_sql(w->db, "BEGIN; UPDATE main.t SET v = v + 1 WHERE k < 9; UPDATE b.t SET v = v + 2; ROLLBACK");
}

static int pragmas(world *w) {
  return world_sql(
      w->db,
      "PRAGMA pmem_max_log_size; PRAGMA pmem_max_log_size=3000000; PRAGMA pmem_mode; PRAGMA pmem_medium;"
      "PRAGMA pmem_error; PRAGMA journal_mode=WAL; PRAGMA journal_mode=TRUNCATE; PRAGMA mmap_size=100000;"
      "PRAGMA locking_mode=EXCLUSIVE; PRAGMA locking_mode=NORMAL; PRAGMA user_version; PRAGMA data_version");
}
static int read_in_place(world *w) {
  int rc = world_sql(w->db, "SELECT sum(length(b)) FROM t");
  return rc == SQLITE_OK ? commit_small(w) : rc;
}
static int close_it(world *w) {
  int rc = sqlite3_close(w->db);
  w->db = NULL;
  return rc;
}

const operation operations[] = {
    {.name = "create", .prepare = nothing, .act = create, .commits = 2},
    {.name = "adopt", .prepare = plain, .act = open_and_read},
    {.name = "adopt, hot journal", .prepare = hot, .act = open_and_read},
    {.name = "adopt, WAL", .prepare = wal, .act = open_and_read, .adopts_wal = true},
    {.name = "adopt, kept journal", .prepare = persist, .act = open_and_read},
    {.name = "adopt and write", .prepare = plain, .act = open_and_write, .commits = 1},
    {.name = "join in the process", .prepare = only_other, .act = open_and_read},
    {.name = "join and write", .prepare = plain, .act = open_and_write, .commits = 1, .peer = true},
    {.name = "adopt, verified", .prepare = plain, .act = open_verified, .stride = 7},
    {.name = "recover", .prepare = crashed, .act = open_and_read},
    {.name = "recover, verified", .prepare = crashed, .act = open_verified, .stride = 7},
    {.name = "recover, undecided", .prepare = prepared, .act = open_and_read},
    {.name = "recover, decided", .prepare = decided, .act = open_and_read},
    {.name = "take over, nothing done", .prepare = dead_early, .act = commit_as_heir, .commits = 1},
    {.name = "take over, durable", .prepare = dead_late, .act = commit_as_heir, .commits = 1},
    {.name = "take over, large", .prepare = dead_large, .act = commit_as_heir, .commits = 1},
    {.name = "open read-only", .prepare = plain, .act = open_read_only},
    {.name = "join read-only", .prepare = only_other, .act = open_read_only},
    {.name = "recover read-only", .prepare = crashed, .act = open_read_only},
    {.name = "immutable", .prepare = plain, .act = open_immutable},
    {.name = "read", .prepare = attached, .act = read_all},
    {.name = "read the past", .prepare = overtaken, .act = read_all},
    {.name = "read in place", .prepare = zero_copy, .act = read_in_place, .commits = 1},
    {.name = "commit", .prepare = attached, .act = commit_twice, .commits = 2},
    {.name = "commit, two processes", .prepare = attached, .act = commit_twice, .commits = 2, .peer = true},
    {.name = "commit under a reader", .prepare = with_snapshot, .act = commit_twice, .commits = 2},
    {.name = "large commit", .prepare = attached, .act = commit_large, .commits = 1},
    {.name = "large, under a reader", .prepare = with_snapshot, .act = commit_large, .commits = 1},
    {.name = "spilled commit", .prepare = small_cache, .act = commit_large, .commits = 1},
    {.name = "spilled to the log", .prepare = small_write_set, .act = spill_to_the_log, .commits = 1, .stride = 17},
    {.name = "exclusive mode", .prepare = exclusive, .act = commit_twice, .commits = 2},
    {.name = "journal_mode=PERSIST", .prepare = persistent_journal, .act = commit_twice, .commits = 2},
    {.name = "journal_mode=OFF", .prepare = no_journal, .act = commit_large, .commits = 1},
    {.name = "mode=async", .prepare = asynchronous, .act = commit_and_flush, .commits = 2},
    {.name = "mode=async, from now on", .prepare = attached, .act = commit_asynchronously, .commits = 2},
    {.name = "mode=async, large", .prepare = asynchronous, .act = commit_large, .commits = 1},
    {.name = "mode=async, close", .prepare = pending, .act = close_it},
    {.name = "mode=periodic", .prepare = periodic, .act = commit_and_flush, .commits = 2},
    {.name = "flush", .prepare = pending, .act = flush},
    {.name = "look", .prepare = recovered, .act = look},
    {.name = "wal=off", .prepare = attached, .act = commit_unlogged, .commits = 2, .unlogged = true},
    {.name = "rollback", .prepare = small_cache, .act = roll_back},
    {.name = "savepoints", .prepare = small_cache, .act = savepoints, .commits = 1},
    {.name = "failed statement", .prepare = attached, .act = failed_statement, .commits = 1},
    {.name = "grow", .prepare = attached, .act = grow, .commits = 2, .stride = 5},
    {.name = "shrink", .prepare = auto_vacuum, .act = shrink, .commits = 2},
    {.name = "shrink, shared", .prepare = auto_vacuum_shared, .act = shrink, .commits = 2},
    {.name = "log wraps", .prepare = small_log, .act = wrap_the_log, .commits = 8, .stride = 13},
    {.name = "checkpoint", .prepare = written, .act = checkpoint},
    {.name = "VACUUM", .prepare = free_pages, .act = vacuum, .commits = 1},
    {.name = "VACUUM INTO", .prepare = into_target, .act = vacuum_into, .stride = 3},
    {.name = "backup out", .prepare = into_target, .act = backup_to_stock},
    {.name = "backup in", .prepare = from_stock, .act = backup_from_stock, .commits = 1, .stride = 3},
    {.name = "two databases", .prepare = two, .act = commit_both, .commits = 1, .stride = 3},
    {.name = "two, rolled back", .prepare = two, .act = roll_back_both},
    {.name = "pmem and stock", .prepare = two_with_stock, .act = commit_both, .commits = 1},
    {.name = "pragmas", .prepare = attached, .act = pragmas},
    {.name = "close", .prepare = written, .act = close_it},
    {.name = "close, not the last", .prepare = with_other, .act = close_it},
    {.name = "close, two processes", .prepare = written, .act = close_it, .peer = true},
};
const size_t operation_count = sizeof operations / sizeof *operations;
