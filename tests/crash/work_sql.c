/*
** work_sql.c - SQLite on the VFS `pmem`.
**
**     sql         rows, savepoints, rollbacks, a second connection, VACUUM, clean closes
**     leftovers   a hot journal or a WAL that a killed stock process left, recovered here
**     multi       one transaction over two or three databases, pmem and stock mixed
**
** Every database holds a table `state` with the number of the transaction that was
** committed last, and a table of rows that follow from that number and no other.
*/
#define _GNU_SOURCE
#include "work.h"

#include "../../vfs/store/error.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMBERS_MAX 3

/* ------------------------------------------------------------------- tools -- */

static sqlite3 *open_with(const stage *at, const char *name, bool pmem, char *why, size_t n) {
  sqlite3 *db = NULL;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;
  int rc = sqlite3_open_v2(stage_path(at, name), &db, flags, pmem ? "pmem" : "unix");
  if (rc == SQLITE_OK) {
    (void)sqlite3_busy_timeout(db, 2000);
    return db;
  }
  (void)snprintf(why, n, "opening %s: %s", name, sqlite3_errmsg(db));
  (void)sqlite3_close(db);
  return NULL;
}

static sqlite3 *must_open(const stage *at, const char *name, bool pmem) {
  char why[400];
  sqlite3 *db = open_with(at, name, pmem, why, sizeof why);
  if (db == NULL) live_failure("%s", why);
  return db;
}

static void run_sql(sqlite3 *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void run_sql(sqlite3 *db, const char *format, ...) {
  char *message = NULL;
  va_list arguments;
  va_start(arguments, format);
  char *sql = sqlite3_vmprintf(format, arguments);
  va_end(arguments);
  if (sql == NULL) crash_die("no memory");
  if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) live_failure("%s: %s", sql, message);
  sqlite3_free(sql);
}

static void must_close(sqlite3 *db) {
  if (sqlite3_close(db) != SQLITE_OK) live_failure("closing: %s", sqlite3_errmsg(db));
}

/* All rows of all columns, in the order the query gives them. */
static int hash_query(sqlite3 *db, const char *sql, uint64_t *hash) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
  if (rc != SQLITE_OK) return rc;
  while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
      const void *bytes = sqlite3_column_blob(statement, i);
      int n = sqlite3_column_bytes(statement, i);
      *hash = mix(*hash + (n > 0 ? XXH3_64bits(bytes, (size_t)n) : 0) + (uint64_t)sqlite3_column_type(statement, i));
    }
  return sqlite3_finalize(statement) == SQLITE_OK && rc == SQLITE_DONE ? SQLITE_OK : rc;
}

#define CONTENT "SELECT n FROM state"
#define ROWS "SELECT k, v, p FROM t ORDER BY k"

/* Of what a database holds; 0: there are no tables. */
static int hash_content(sqlite3 *db, uint64_t *hash) {
  sqlite3_stmt *statement;
  *hash = 0;
  int rc = sqlite3_prepare_v2(db, "SELECT count(*) FROM sqlite_schema", -1, &statement, NULL);
  if (rc != SQLITE_OK) return rc;
  int tables = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
  rc = sqlite3_finalize(statement);
  if (rc != SQLITE_OK || tables <= 0) return rc;
  rc = hash_query(db, CONTENT, hash);
  return rc == SQLITE_OK ? hash_query(db, ROWS, hash) : rc;
}

static void check_integrity(sqlite3 *db, const char *name, verdict *v) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL);
  if (rc != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
    verdict_fail(v, "%s: integrity_check: %s", name, sqlite3_errmsg(db));
  else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
    verdict_fail(v, "%s: integrity_check: %s", name, (const char *)sqlite3_column_text(statement, 0));
  (void)sqlite3_finalize(statement);
}

/* Open as a user would, look, close. */
static void look(const stage *at, const char *name, bool pmem, uint64_t *hash, verdict *v) {
  char why[400];
  sqlite3 *db = open_with(at, name, pmem, why, sizeof why);
  if (db == NULL) {
    verdict_fail(v, "%s", why);
    return;
  }
  int rc = hash_content(db, hash);
  if (rc != SQLITE_OK) verdict_fail(v, "reading %s: %d %s, %s", name, rc, sqlite3_errmsg(db), pmem ? spm_last_error() : "");
  check_integrity(db, name, v);
  if (sqlite3_close(db) != SQLITE_OK) verdict_fail(v, "closing %s: %s", name, sqlite3_errmsg(db));
}

static void expect_gone(const stage *at, const char *name, const char *suffix, verdict *v) {
  char full[200];
  (void)snprintf(full, sizeof full, "%s%s", name, suffix);
  if (access(stage_path(at, full), F_OK) == 0) verdict_fail(v, "%s is left after a clean close", full);
}

/* The file alone, without its counters. */
static uint64_t hash_file(const stage *at, const char *name, verdict *v) {
  uint8_t *bytes;
  struct stat status;
  int fd = open(stage_path(at, name), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0 || (bytes = malloc((size_t)status.st_size + 128)) == NULL) {
    verdict_fail(v, "%s cannot be read after a clean close", name);
    return 0;
  }
  if (pread(fd, bytes, (size_t)status.st_size, 0) != status.st_size) verdict_fail(v, "%s: a short read", name);
  close(fd);
  memset(bytes + 24, 0, 4);
  memset(bytes + 92, 0, 4);
  uint64_t hash = status.st_size == 0 ? 0 : XXH3_64bits(bytes, (size_t)status.st_size);
  free(bytes);
  return hash;
}

/* Through the VFS; closed cleanly; and what is left is a plain file for anybody. */
static void look_both(const stage *at, const char *name, uint64_t *hash, uint64_t *bytes, verdict *v) {
  static const char *const sidecars[] = {"-pmlog", "-pmshm", "-journal", "-wal"};
  uint64_t plain = 0;
  look(at, name, true, hash, v);
  if (v->failed) return;
  for (size_t i = 0; i < sizeof sidecars / sizeof *sidecars; i++) expect_gone(at, name, sidecars[i], v);
  *bytes = hash_file(at, name, v);
  look(at, name, false, &plain, v);
  if (plain != *hash) verdict_fail(v, "%s: stock SQLite reads something else after a clean close", name);
}

/* ------------------------------------------------------------ transactions -- */

/* The same statements on a database in memory say what a commit leads to. */
static sqlite3 *twin;

static void twin_new(void) {
  if (twin != NULL) (void)sqlite3_close(twin);
  if (sqlite3_open_v2(":memory:", &twin, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix") != SQLITE_OK)
    crash_die("opening a database in memory");
}

#define SCHEMA "CREATE TABLE state(n INTEGER); INSERT INTO state VALUES(0);" \
               "CREATE TABLE t(k INTEGER PRIMARY KEY, v, p); CREATE INDEX i ON t(v)"

/* No randomblob(): both must come to the same. */
static char *change_of(uint64_t n, bool large) {
  uint64_t k = chance(60), rows = large ? 120 : 1 + chance(4), width = 20 + chance(large ? 3000 : 300);
  char *sql = sqlite3_mprintf(
      "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c LIMIT %llu)"
      "INSERT OR REPLACE INTO t SELECT %llu + i, 'v' || (%llu * 7919 + i), hex(zeroblob(%llu)) || %llu FROM c;"
      "%s UPDATE state SET n = %llu",
      rows, k, n, width, n,
      chance(3) == 0 ? "DELETE FROM t WHERE k % 5 = 2;" : chance(3) == 0 ? "UPDATE t SET p = 'x' || v WHERE k % 7 = 1;" : "", n);
  if (sql == NULL) crash_die("no memory");
  return sql;
}

static uint64_t twin_hash(void) {
  uint64_t hash;
  if (hash_content(twin, &hash) != SQLITE_OK) crash_die("the database in memory");
  return hash;
}

static void commit_change(sqlite3 *db, uint64_t n, bool large) {
  char *sql = change_of(n, large);
  run_sql(twin, "BEGIN; %s; COMMIT", sql);
  run_sql(db, "BEGIN; %s", sql);
  promise(PROMISE_STARTED, twin_hash());
  run_sql(db, "COMMIT");
  promise(PROMISE_KEPT, twin_hash());
  sqlite3_free(sql);
}

/* ------------------------------------------------------------------- sql -- */

static const char *const page_sizes[] = {"4096", "512", "1024", "65536", "4096", "8192"};

static void sql_prepare(const stage *at) {
  if (at->unit % 4 == 3) return; /* the VFS makes the file */
  sqlite3 *db = must_open(at, "x.db", false);
  run_sql(db, "PRAGMA page_size = %s; PRAGMA auto_vacuum = %d; " SCHEMA, page_sizes[at->unit % 6], (int)(at->unit / 6 % 2));
  must_close(db);
}

static void roll_back(sqlite3 *db) {
  run_sql(db, "BEGIN; INSERT OR REPLACE INTO t VALUES(1, 'no', zeroblob(9000)); UPDATE state SET n = -1; ROLLBACK");
}

static void save_and_go_back(sqlite3 *db, uint64_t n) {
  char *sql = change_of(n, false);
  run_sql(twin, "BEGIN; %s; COMMIT", sql);
  run_sql(db, "BEGIN; INSERT OR REPLACE INTO t VALUES(70, 'kept', 1); SAVEPOINT s; DELETE FROM t; UPDATE state SET n = -1;"
              "ROLLBACK TO s; RELEASE s; DELETE FROM t WHERE k = 70; %s", sql);
  run_sql(twin, "DELETE FROM t WHERE k = 70");
  run_sql(db, "DELETE FROM t WHERE k = 70");
  promise(PROMISE_STARTED, twin_hash());
  run_sql(db, "COMMIT");
  promise(PROMISE_KEPT, twin_hash());
  sqlite3_free(sql);
}

static void shrink(sqlite3 *db, uint64_t n) {
  static const char change[] = "DELETE FROM t WHERE k > 12";
  run_sql(twin, "BEGIN; %s; UPDATE state SET n = %llu; COMMIT", change, (unsigned long long)n);
  run_sql(db, "BEGIN; %s; UPDATE state SET n = %llu", change, (unsigned long long)n);
  promise(PROMISE_STARTED, twin_hash());
  run_sql(db, "COMMIT");
  promise(PROMISE_KEPT, twin_hash());
  run_sql(db, chance(2) == 0 ? "VACUUM" : "PRAGMA incremental_vacuum");
}

static void sql_steps(sqlite3 *db, uint64_t *n, uint64_t count) {
  for (; count > 0; count--) switch (chance(8)) {
      case 0: roll_back(db); break;
      case 1: save_and_go_back(db, ++*n); break;
      case 2: commit_change(db, ++*n, true); break;
      case 3: shrink(db, ++*n); break;
      default: commit_change(db, ++*n, false); break;
    }
}

static void sql_run(const stage *at) {
  uint64_t n = 0;
  twin_new();
  promise(PROMISE_KEPT, 0);
  run_sql(twin, SCHEMA);
  if (at->unit % 4 != 3) promise(PROMISE_KEPT, twin_hash());
  bool all = at->unit / 4 % 3 == 0; /* adoption and close are looked at in a third of the units */
  if (all) scope(true);
  sqlite3 *db = must_open(at, "x.db", true);
  if (at->unit % 4 == 3) {
    run_sql(db, "PRAGMA page_size = %s; BEGIN; " SCHEMA, page_sizes[at->unit % 6]);
    promise(PROMISE_STARTED, twin_hash());
    run_sql(db, "COMMIT");
    promise(PROMISE_KEPT, twin_hash());
  }
  commit_change(db, ++n, false);
  scope(true);
  sql_steps(db, &n, 2 + chance(4));
  sqlite3 *second = must_open(at, "x.db", true);
  run_sql(second, "SELECT count(*) FROM t");
  sql_steps(second, &n, 1 + chance(2));
  must_close(db);
  sql_steps(second, &n, 1);
  if (!all) scope(false);
  must_close(second);
}

static void sql_reopen(const stage *at, verdict *v) { look_both(at, "x.db", &v->state, &v->bytes, v); }

static void sql_resume(const stage *at) {
  sqlite3 *db = must_open(at, "x.db", true);
  uint64_t found, n = 100;
  if (hash_content(db, &found) != SQLITE_OK) live_failure("reading: %s", sqlite3_errmsg(db));
  twin_new();
  if (found == 0) {
    must_close(db);
    return;
  }
  sqlite3_backup *backup = sqlite3_backup_init(twin, "main", db, "main");
  if (backup == NULL || sqlite3_backup_step(backup, -1) != SQLITE_DONE) live_failure("copying to memory");
  (void)sqlite3_backup_finish(backup);
  sql_steps(db, &n, 2);
  must_close(db);
}

/* -------------------------------------------------------------- leftovers -- */

/* A stock process is killed in the middle: its journal is hot, or its WAL full. */
static void leave_stock(const stage *at, void *argument) {
  (void)argument;
  sqlite3 *db = must_open(at, "x.db", false);
  if (at->unit % 2 == 0) {
    run_sql(db, "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; PRAGMA journal_mode = %s; BEGIN; UPDATE t SET p = zeroblob(5000);"
                "UPDATE state SET n = -1; DELETE FROM t WHERE k > 3", at->unit / 2 % 2 ? "persist" : "delete");
    if (sqlite3_db_cacheflush(db) != SQLITE_OK) live_failure("spilling");
  } else {
    run_sql(db, "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_mode = wal; UPDATE state SET n = 1; UPDATE t SET v = 'wal';"
                "BEGIN; UPDATE state SET n = -1");
  }
  (void)raise(SIGKILL);
}

static void leftovers_prepare(const stage *at) {
  sqlite3 *db = must_open(at, "x.db", false);
  run_sql(db, SCHEMA "; WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 40)"
              "INSERT INTO t SELECT i, 'v' || i, hex(zeroblob(200)) FROM c");
  must_close(db);
  pid_t pid = crew_start(at, 1, leave_stock, NULL);
  int status;
  if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) crash_die("the stock process was not killed");
  (void)unlink(stage_path(at, "x.db-shm"));
}

static void leftovers_run(const stage *at) {
  uint64_t n = 2;
  twin_new();
  run_sql(twin, SCHEMA "; WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 40)"
                "INSERT INTO t SELECT i, 'v' || i, hex(zeroblob(200)) FROM c");
  if (at->unit % 2 == 1) run_sql(twin, "UPDATE state SET n = 1; UPDATE t SET v = 'wal'");
  promise(PROMISE_KEPT, twin_hash());
  scope(true);
  sqlite3 *db = must_open(at, "x.db", true);
  run_sql(db, "SELECT count(*) FROM t");
  if (at->unit / 4 % 2 == 0) sql_steps(db, &n, 1);
  must_close(db);
}

/* ------------------------------------------------------------------ multi -- */

/* A letter for each database, main first: p on the VFS pmem, s stock. */
static const char *const casts[] = {"pp", "ps", "sp", "ppp", "psp", "spp", "pss", "ssp"};
static const char *const names[MEMBERS_MAX] = {"x.db", "y.db", "z.db"};

static const char *cast_of(const stage *at) { return casts[at->unit % (sizeof casts / sizeof *casts)]; }

static void multi_prepare(const stage *at) {
  const char *cast = cast_of(at);
  for (int i = 0; cast[i] != 0; i++) {
    sqlite3 *db = must_open(at, names[i], false);
    run_sql(db, SCHEMA "; INSERT INTO t VALUES(1, 'one', zeroblob(9000))");
    must_close(db);
  }
}

static uint64_t multi_hash(uint64_t n) { return mix(n + 4711); }

static sqlite3 *meet(const stage *at, const char *cast) {
  static const char *const modes[] = {"delete", "truncate", "persist"};
  sqlite3 *db = must_open(at, names[0], cast[0] == 'p');
  for (int i = 1; cast[i] != 0; i++)
    run_sql(db, "ATTACH 'file:%s?vfs=%s' AS m%d", stage_path(at, names[i]), cast[i] == 'p' ? "pmem" : "unix", i);
  run_sql(db, "PRAGMA journal_mode = %s", modes[at->unit / 24 % 3]);
  return db;
}

static void commit_all(sqlite3 *db, const char *cast, uint64_t n) {
  run_sql(db, "BEGIN; UPDATE main.state SET n = %llu; UPDATE main.t SET p = zeroblob(9000 + %llu), v = %llu",
          (unsigned long long)n, (unsigned long long)n, (unsigned long long)n);
  for (int i = 1; cast[i] != 0; i++)
    run_sql(db, "UPDATE m%d.state SET n = %llu; UPDATE m%d.t SET p = zeroblob(9000 + %llu), v = %llu", i,
            (unsigned long long)n, i, (unsigned long long)n, (unsigned long long)n);
  promise(PROMISE_STARTED, multi_hash(n));
  run_sql(db, "COMMIT");
  promise(PROMISE_KEPT, multi_hash(n));
}

/* The last member meets a full disk when those before it have been prepared: stock in its
** database, here in the stub.  All are rolled back, and the user goes on. */
static void give_up(const stage *at, sqlite3 *db, const char *cast) {
  int last = (int)strlen(cast) - 1;
  char name[40];
  (void)snprintf(name, sizeof name, "%s%s", names[last], cast[last] == 'p' ? "-journal" : "");
  const char *full = stage_path(at, name);
  run_sql(db, "BEGIN; UPDATE main.state SET n = -1; UPDATE main.t SET p = zeroblob(9500), v = 'given up'");
  for (int i = 1; i <= last; i++)
    run_sql(db, "UPDATE m%d.state SET n = -1; UPDATE m%d.t SET p = zeroblob(%d), v = 'given up'", i, i, i < last ? 9500 : 90000);
  record_full(full);
  int rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
  record_full(NULL);
  if (rc == SQLITE_OK) live_failure("a commit succeeded on a full disk");
  if (!sqlite3_get_autocommit(db)) run_sql(db, "ROLLBACK");
}

static void give_up_in_between(const stage *at, const char *cast) {
  sqlite3 *db = meet(at, cast);
  commit_all(db, cast, 1);
  give_up(at, db, cast);
  if (chance(2) == 0) run_sql(db, "UPDATE main.t SET v = 'alone'");
  if (chance(2) == 0) give_up(at, db, cast);
  commit_all(db, cast, 2);
  if (chance(2) == 0) give_up(at, db, cast);
  must_close(db);
}

static void die(void) { (void)raise(SIGKILL); }

static void commit_both(const stage *at, void *argument) {
  const char *cast = cast_of(at);
  (void)argument;
  sqlite3 *db = meet(at, cast);
  unsigned long before = trace_count();
  commit_all(db, cast, 1);
  trace_at(1 + (unsigned long)chance(trace_count() - before + 3), die);
  commit_all(db, cast, 2);
  trace_at(0, NULL);
  if (chance(2) == 0) run_sql(db, "UPDATE main.t SET v = 'alone'");
  must_close(db);
}

/* A process dies in the middle; another opens what it left, while that is on its way to
** media yet. */
static void die_and_inherit(const stage *at) {
  const char *cast = cast_of(at);
  int status, count = (int)strlen(cast), first = (int)chance((uint64_t)count);
  pid_t pid = crew_start(at, 1, commit_both, NULL);
  if (waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status) != 0))
    live_failure("the one that was to die failed (%x)", status);
  for (int i = 0; i < count; i++) {
    const char *name = names[(first + i) % count];
    sqlite3 *db = must_open(at, name, cast[(first + i) % count] == 'p');
    run_sql(db, "SELECT n FROM state");
    must_close(db);
  }
}

static void multi_run(const stage *at) {
  const char *cast = cast_of(at);
  promise(PROMISE_KEPT, multi_hash(0));
  scope(true);
  if (at->unit / 8 % 3 == 1) {
    die_and_inherit(at);
    return;
  }
  if (at->unit / 8 % 3 == 2) {
    give_up_in_between(at, cast);
    return;
  }
  sqlite3 *db = meet(at, cast);
  commit_all(db, cast, 1);
  commit_all(db, cast, 2);
  if (chance(2) == 0) run_sql(db, "UPDATE main.t SET v = 'alone'");
  must_close(db);
}

/* In any order: whoever is opened first must not spoil it for the others. */
static void multi_reopen(const stage *at, verdict *v) {
  const char *cast = cast_of(at);
  int count = (int)strlen(cast), first = (int)chance((uint64_t)count), step = count == 3 && chance(2) ? 2 : 1;
  sqlite3_int64 numbers[MEMBERS_MAX] = {0};
  for (int turn = 0; turn < count && !v->failed; turn++) {
    int i = (first + turn * step) % count;
    uint64_t hash = 0, bytes = 0;
    if (cast[i] == 'p')
      look_both(at, names[i], &hash, &bytes, v);
    else
      look(at, names[i], false, &hash, v);
    if (v->failed) return;
    v->bytes += mix(bytes + (uint64_t)i);
    char why[400];
    sqlite3_stmt *statement;
    sqlite3 *db = open_with(at, names[i], false, why, sizeof why);
    if (db == NULL || sqlite3_prepare_v2(db, CONTENT, -1, &statement, NULL) != SQLITE_OK) {
      verdict_fail(v, "%s has no number", names[i]);
      return;
    }
    numbers[i] = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
  }
  for (int i = 1; i < count; i++)
    if (numbers[i] != numbers[0])
      verdict_fail(v, "a part of a transaction: %s has %lld, %s has %lld (cast %s)", names[0], numbers[0], names[i], numbers[i], cast);
  v->state = multi_hash((uint64_t)numbers[0]);
}

const workload work_sql = {
    "sql", "SQL on the VFS: savepoints, rollbacks, two connections, VACUUM, all page sizes", 24, 25, 200, true, true,
    sql_prepare, sql_run, sql_reopen, sql_resume};
const workload work_leftovers = {
    "leftovers", "a hot journal or a WAL of a killed stock process, recovered at adoption", 8, 5, 150, true, true,
    leftovers_prepare, leftovers_run, sql_reopen, NULL};
const workload work_multi = {
    "multi", "one transaction over two or three databases, pmem and stock mixed; killed in it, given up after PREPARE", 72, 24, 100, true, true,
    multi_prepare, multi_run, multi_reopen, NULL};
