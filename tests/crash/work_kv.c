/*
** work_kv.c - the key-value table `pmemkv`, alone and together with tables.
**
**     keys   keys and values of all sizes, savepoints, rollbacks, clean closes: a store in
**            the making, under work, and in recovery
**     tied   one transaction over a database (on the VFS, or stock with a journal or a WAL)
**            and one or two stores; killed in it, and opened by others (K1, K2)
*/
#define _GNU_SOURCE
#include "work.h"

#include "../../ext/kv/kvcheck.h"
#include "../../ext/kv/kvstore.h"
#include "../../ext/kv/table.h"
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

#define ROWS "SELECT key, value FROM k ORDER BY key"

/* ------------------------------------------------------------------- tools -- */

static int try_sql(sqlite3 *db, const char *format, va_list arguments, char **message) {
  char *sql = sqlite3_vmprintf(format, arguments);
  if (sql == NULL) crash_die("no memory");
  int rc = sqlite3_exec(db, sql, NULL, NULL, message);
  sqlite3_free(sql);
  return rc;
}

static void run_sql(sqlite3 *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void run_sql(sqlite3 *db, const char *format, ...) {
  char *message = NULL;
  va_list arguments;
  va_start(arguments, format);
  if (try_sql(db, format, arguments, &message) != SQLITE_OK) live_failure("%s: %s", format, message);
  va_end(arguments);
}

static sqlite3 *open_database(const char *path, const char *vfs) {
  sqlite3 *db = NULL;
  int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs);
  if (rc == SQLITE_OK) rc = spm_table_register(db);
  if (rc == SQLITE_OK) rc = sqlite3_busy_timeout(db, 2000);
  if (rc == SQLITE_OK) return db;
  (void)sqlite3_close(db);
  return NULL;
}

static void must_close(sqlite3 *db) {
  if (sqlite3_close(db) != SQLITE_OK) live_failure("closing: %s", sqlite3_errmsg(db));
}

static int hash_rows(sqlite3 *db, uint64_t *hash) {
  sqlite3_stmt *statement;
  *hash = 0;
  int rc = sqlite3_prepare_v2(db, ROWS, -1, &statement, NULL);
  if (rc != SQLITE_OK) return rc;
  while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
    for (int i = 0; i < 2; i++) {
      const void *bytes = sqlite3_column_blob(statement, i);
      int n = sqlite3_column_bytes(statement, i);
      *hash = mix(*hash + (n > 0 ? XXH3_64bits(bytes, (size_t)n) : 0) + (uint64_t)sqlite3_column_type(statement, i));
    }
  return sqlite3_finalize(statement);
}

static bool tell(void *v, const char *text) {
  verdict_fail(v, "check: %s", text);
  return false;
}

/* Every node and block, and a clean close. */
static void check_store(const stage *at, const char *name, verdict *v) {
  static const char *const sidecars[] = {"-pmlog", "-pmshm"};
  spm_kv *kv = NULL;
  int rc = spm_kv_open(stage_path(at, name), &(spm_kv_options){0}, &kv);
  if (rc == SQLITE_OK) rc = spm_kv_check(kv, tell, v);
  if (rc != SQLITE_OK) verdict_fail(v, "%s: %d, %s", name, rc, spm_last_error());
  spm_kv_close(kv, false);
  for (int i = 0; i < 2; i++) {
    char full[64];
    (void)snprintf(full, sizeof full, "%s%s", name, sidecars[i]);
    if (access(stage_path(at, full), F_OK) == 0) verdict_fail(v, "%s is left after a clean close", full);
  }
}

/* The file alone, without the life it had. */
static uint64_t hash_file(const stage *at, const char *name, verdict *v) {
  struct stat status;
  uint8_t *bytes = NULL;
  int fd = open(stage_path(at, name), O_RDONLY | O_CLOEXEC);
  uint64_t hash = 0;
  if (fd >= 0 && fstat(fd, &status) == 0) bytes = calloc(1, (size_t)status.st_size + 64);
  if (bytes == NULL || pread(fd, bytes, (size_t)status.st_size, 0) != status.st_size) {
    verdict_fail(v, "%s cannot be read after a clean close", name);
  } else {
    memset(bytes + offsetof(spm_kv_header, life), 0, SPM_LIFE_SIZE);
    hash = XXH3_64bits(bytes, (size_t)status.st_size);
  }
  if (fd >= 0) close(fd);
  free(bytes);
  return hash;
}

/* ---------------------------------------------------------------------- keys -- */

static sqlite3 *twin; /* an ordinary table that is told the same */

static void twin_new(void) {
  if (twin != NULL) (void)sqlite3_close(twin);
  if (sqlite3_open_v2(":memory:", &twin, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix") != SQLITE_OK)
    crash_die("opening a database in memory");
  run_sql(twin, "CREATE TABLE k(key PRIMARY KEY NOT NULL, value) WITHOUT ROWID");
}

static uint64_t twin_hash(void) {
  uint64_t hash;
  if (hash_rows(twin, &hash) != SQLITE_OK) crash_die("the database in memory");
  return hash;
}

static sqlite3 *open_keys(const stage *at) {
  sqlite3 *db = open_database(":memory:", "unix");
  if (db == NULL) crash_die("opening a database in memory");
  run_sql(db, "CREATE VIRTUAL TABLE k USING pmemkv(path='%s', max_log_size='1M')", stage_path(at, "one.kv"));
  return db;
}

/* Numbers and text as keys; small values, large ones, and one of many blocks. */
static char *change_of(void) {
  uint64_t from = chance(200), count = 1 + chance(chance(4) == 0 ? 60 : 6), width = chance(chance(6) == 0 ? 9000 : 300);
  static const char *const more[] = {"", "", "DELETE FROM k WHERE key % 5 = 2", "DELETE FROM k WHERE key > 120",
                                     "UPDATE k SET value = 'x' WHERE key % 7 = 1", "UPDATE OR REPLACE k SET key = key + 3 WHERE key < 9"};
  char *sql = sqlite3_mprintf(
      "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c LIMIT %llu) INSERT OR REPLACE INTO k "
      "SELECT CASE i %% 3 WHEN 0 THEN %llu + i ELSE 'key ' || (%llu + i) END, hex(zeroblob(%llu)) || i FROM c;%s",
      count, from, from, width, more[chance(sizeof more / sizeof *more)]);
  if (sql == NULL) crash_die("no memory");
  return sql;
}

static void commit_keys(sqlite3 *db) {
  char *sql = change_of();
  bool saved = chance(3) == 0;
  run_sql(twin, "BEGIN; %s; COMMIT", sql);
  run_sql(db, "BEGIN; %s", saved ? "SAVEPOINT s; DELETE FROM k; INSERT INTO k VALUES('no', zeroblob(5000)); ROLLBACK TO s; RELEASE s" : "");
  run_sql(db, "%s", sql);
  promise(PROMISE_STARTED, twin_hash());
  run_sql(db, "COMMIT");
  promise(PROMISE_KEPT, twin_hash());
  sqlite3_free(sql);
}

static void key_steps(sqlite3 *db, uint64_t count) {
  for (; count > 0; count--) {
    if (chance(6) == 0) run_sql(db, "BEGIN; DELETE FROM k; INSERT INTO k VALUES(-1, 'no'); ROLLBACK");
    commit_keys(db);
  }
}

static void keys_prepare(const stage *at) {
  if (at->unit % 2 == 0) return; /* the table makes the file */
  sqlite3 *db = open_keys(at);
  run_sql(db, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 150)"
              "INSERT INTO k SELECT i, hex(zeroblob(i)) FROM c");
  must_close(db);
}

static void keys_run(const stage *at) {
  twin_new();
  if (at->unit % 2 == 1)
    run_sql(twin, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 150)"
                  "INSERT INTO k SELECT i, hex(zeroblob(i)) FROM c");
  promise(PROMISE_KEPT, twin_hash());
  bool all = at->unit / 2 % 3 == 0; /* the beginning and the end of a life in a third of the units */
  if (all) scope(true);
  sqlite3 *db = open_keys(at);
  commit_keys(db);
  scope(true);
  key_steps(db, 2 + chance(5));
  if (!all) scope(false);
  must_close(db);
}

static void keys_reopen(const stage *at, verdict *v) {
  char *message = NULL;
  sqlite3 *db = open_database(":memory:", "unix");
  if (db == NULL) crash_die("opening a database in memory");
  char *sql = sqlite3_mprintf("CREATE VIRTUAL TABLE k USING pmemkv(path='%s')", stage_path(at, "one.kv"));
  int rc = sqlite3_exec(db, sql, NULL, NULL, &message);
  if (rc == SQLITE_OK) rc = hash_rows(db, &v->state);
  if (rc != SQLITE_OK) verdict_fail(v, "reading: %d, %s, %s", rc, message ? message : sqlite3_errmsg(db), spm_last_error());
  sqlite3_free(message);
  sqlite3_free(sql);
  if (sqlite3_close(db) != SQLITE_OK) verdict_fail(v, "closing: %s", sqlite3_errmsg(db));
  if (v->failed) return;
  check_store(at, "one.kv", v);
  v->bytes = v->state != 0 ? hash_file(at, "one.kv", v) : 0; /* a store made here has an id of its own */
}

static void keys_resume(const stage *at) {
  twin_new();
  sqlite3 *db = open_keys(at);
  sqlite3_stmt *rows, *put;
  if (sqlite3_prepare_v2(db, ROWS, -1, &rows, NULL) != SQLITE_OK ||
      sqlite3_prepare_v2(twin, "INSERT INTO k VALUES(?1, ?2)", -1, &put, NULL) != SQLITE_OK)
    live_failure("copying to memory: %s", sqlite3_errmsg(db));
  while (sqlite3_step(rows) == SQLITE_ROW) {
    (void)sqlite3_bind_value(put, 1, sqlite3_column_value(rows, 0));
    (void)sqlite3_bind_value(put, 2, sqlite3_column_value(rows, 1));
    (void)sqlite3_step(put);
    (void)sqlite3_reset(put);
  }
  (void)sqlite3_finalize(put);
  if (sqlite3_finalize(rows) != SQLITE_OK) live_failure("reading what was recovered: %s", sqlite3_errmsg(db));
  key_steps(db, 2);
  must_close(db);
}

/* ---------------------------------------------------------------------- tied -- */

/* The database, and how many stores: p on the VFS, s stock with a journal, w with a WAL. */
static const char *const casts[] = {"p1", "s1", "w1", "p2", "s2", "w2"};
static const char *cast_of(const stage *at) { return casts[at->unit % (sizeof casts / sizeof *casts)]; }
static int stores_of(const stage *at) { return cast_of(at)[1] - '0'; }

static sqlite3 *meet(const stage *at) {
  sqlite3 *db = open_database(stage_path(at, "x.db"), cast_of(at)[0] == 'p' ? "pmem" : "unix");
  if (db == NULL) live_failure("opening x.db");
  run_sql(db, "PRAGMA synchronous = FULL");
  return db;
}

static void tied_prepare(const stage *at) {
  sqlite3 *db = meet(at);
  run_sql(db, "PRAGMA journal_mode = %s; CREATE TABLE state(n, fill); INSERT INTO state VALUES(0, zeroblob(9000))",
          cast_of(at)[0] == 'w' ? "wal" : "delete");
  for (int i = 0; i < stores_of(at); i++)
    run_sql(db, "CREATE VIRTUAL TABLE k%d USING pmemkv(path='%d.kv', max_log_size='1M');"
                "INSERT INTO k%d VALUES('n', 0), ('fill', zeroblob(100))", i, i, i);
  must_close(db);
}

static uint64_t tied_hash(uint64_t n) { return mix(n + 815); }

static void commit_all(const stage *at, sqlite3 *db, uint64_t n) {
  run_sql(db, "BEGIN; UPDATE state SET n = %llu, fill = zeroblob(9000 + %llu)", (unsigned long long)n, (unsigned long long)n);
  for (int i = 0; i < stores_of(at); i++)
    run_sql(db, "UPDATE k%d SET value = %llu WHERE key = 'n'; UPDATE k%d SET value = zeroblob(3000 + %llu) WHERE key = 'fill'", i,
            (unsigned long long)n, i, (unsigned long long)n);
  promise(PROMISE_STARTED, tied_hash(n));
  run_sql(db, "COMMIT");
  promise(PROMISE_KEPT, tied_hash(n));
}

static void die(void) { (void)raise(SIGKILL); }

/* Half of the deaths come when the database has just committed: the keys are to follow. */
static unsigned long step_of_death(unsigned long commit) {
  return chance(2) == 0 || commit < 16 ? 1 + (unsigned long)chance(commit + 3) : commit - (unsigned long)chance(16);
}

static void commit_and_die(const stage *at, void *argument) {
  (void)argument;
  sqlite3 *db = meet(at);
  commit_all(at, db, 1); /* with it the stores are opened */
  unsigned long before = trace_count();
  commit_all(at, db, 2);
  trace_at(step_of_death(trace_count() - before), die);
  commit_all(at, db, 3);
  trace_at(0, NULL);
  must_close(db);
}

/* A store asks the database what its dead writer had decided, and the database may be
** opened before; all of it before what they left is on media. */
static void inherit(const stage *at) {
  int status, count = 1 + stores_of(at), first = (int)chance((uint64_t)count);
  pid_t pid = crew_start(at, 1, commit_and_die, NULL);
  if (waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status) != 0))
    live_failure("the one that was to die failed (%x)", status);
  sqlite3 *db = meet(at);
  for (int i = 0; i < count; i++) {
    int which = (first + i) % count;
    if (which == 0)
      run_sql(db, "SELECT n FROM state");
    else
      run_sql(db, "SELECT value FROM k%d", which - 1);
  }
  must_close(db);
}

static void tied_run(const stage *at) {
  promise(PROMISE_KEPT, tied_hash(0));
  if (at->unit / 6 % 2 == 1) {
    scope(true);
    inherit(at);
    return;
  }
  scope(true);
  sqlite3 *db = meet(at);
  commit_all(at, db, 1);
  run_sql(db, "BEGIN; UPDATE state SET n = -1; UPDATE k0 SET value = -1; ROLLBACK");
  commit_all(at, db, 2);
  must_close(db);
}

static sqlite3_int64 number_in(sqlite3 *db, const char *sql, verdict *v) {
  sqlite3_stmt *statement;
  sqlite3_int64 n = -2;
  if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
    verdict_fail(v, "%s: %s, %s", sql, sqlite3_errmsg(db), spm_last_error());
  else
    n = sqlite3_column_int64(statement, 0);
  (void)sqlite3_finalize(statement);
  return n;
}

/* In any order, through one connection or a store by itself first. */
static void tied_reopen(const stage *at, verdict *v) {
  static const char *const queries[] = {"SELECT n FROM state", "SELECT value FROM k0 WHERE key = 'n'",
                                        "SELECT value FROM k1 WHERE key = 'n'"};
  int count = 1 + stores_of(at), first = (int)chance((uint64_t)count);
  sqlite3_int64 numbers[3] = {0};
  if (chance(2) == 0) check_store(at, count == 3 && chance(2) == 0 ? "1.kv" : "0.kv", v);
  sqlite3 *db = open_database(stage_path(at, "x.db"), cast_of(at)[0] == 'p' ? "pmem" : "unix");
  if (db == NULL) {
    verdict_fail(v, "x.db cannot be opened: %s", spm_last_error());
    return;
  }
  for (int i = 0; i < count && !v->failed; i++) numbers[(first + i) % count] = number_in(db, queries[(first + i) % count], v);
  for (int i = 1; i < count && !v->failed; i++)
    if (numbers[i] != numbers[0])
      verdict_fail(v, "a part of a transaction: the database has %lld, store %d has %lld (cast %s)", numbers[0], i - 1, numbers[i], cast_of(at));
  if (sqlite3_close(db) != SQLITE_OK) verdict_fail(v, "closing: %s", sqlite3_errmsg(db));
  for (int i = 0; i < count - 1 && !v->failed; i++) check_store(at, i == 0 ? "0.kv" : "1.kv", v);
  v->state = tied_hash((uint64_t)numbers[0]);
}

const workload work_keys = {
    "keys", "the key-value table: values of all sizes, savepoints, rollbacks, a store's beginning and end", 12, 15, 200, true, true,
    keys_prepare, keys_run, keys_reopen, keys_resume};
const workload work_tied = {
    "tied", "one transaction over a database and one or two key-value stores; killed in it", 12, 15, 120, true, true,
    tied_prepare, tied_run, tied_reopen, NULL};
