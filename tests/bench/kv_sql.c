/*
** kv_sql.c - key-value tables that SQL drives.
**
** The yardstick is an ordinary WITHOUT ROWID table.  All run the same statements, but for
** the scan: lsm1 gives its rows in order and does not know that ORDER BY is served, so it
** is asked without.
*/
#include "kv.h"

#include "sql.h"

#include <stdlib.h>

struct kv {
  sqlite3 *db;
  sqlite3_stmt *put, *get, *delete, *scan, *begin, *commit;
  const char *folder, *prefix;
};

#define ORDINARY "CREATE TABLE kv(key TEXT PRIMARY KEY, value) WITHOUT ROWID"
#define SCAN "SELECT key, value FROM kv WHERE key >= ?1"

static kv *open_table(const char *uri, const char *folder, const char *pragmas, const char *library,
                      const char *create) {
  kv *s = calloc(1, sizeof *s);
  if (s == NULL) bench_fail("out of memory");
  s->db = sql_open(uri, folder, pragmas);
  if (library != NULL) sql_load(s->db, library);
  char *statement = sqlite3_mprintf(create, folder);
  sql_run(s->db, statement);
  sqlite3_free(statement);
  s->put = sql_prepare(s->db, "INSERT OR REPLACE INTO kv(key, value) VALUES(?1, ?2)");
  s->get = sql_prepare(s->db, "SELECT value FROM kv WHERE key = ?1");
  s->delete = sql_prepare(s->db, "DELETE FROM kv WHERE key = ?1");
  s->scan = sql_prepare(s->db, SCAN " ORDER BY key LIMIT ?2");
  s->begin = sql_prepare(s->db, "BEGIN");
  s->commit = sql_prepare(s->db, "COMMIT");
  s->folder = folder;
  return s;
}

static void close_table(kv *s) {
  sql_close(s->db);
  free(s);
}

static void bind_key(sqlite3_stmt *statement, const char *key) {
  sql_check(NULL, sqlite3_bind_text(statement, 1, key, KV_KEY_SIZE, SQLITE_STATIC));
}

static void begin(kv *s) { (void)sql_step_all(s->begin); }
static void commit(kv *s) { (void)sql_step_all(s->commit); }

static void put(kv *s, const char *key, const char *value) {
  bind_key(s->put, key);
  sql_check(s->db, sqlite3_bind_blob(s->put, 2, value, KV_VALUE_SIZE, SQLITE_STATIC));
  (void)sql_step_all(s->put);
}

/* lsm1 and others do not count changes alike; the gets would notice a key that stayed. */
static bool delete(kv *s, const char *key) {
  bind_key(s->delete, key);
  (void)sql_step_all(s->delete);
  return true;
}

static bool get(kv *s, const char *key, char value[KV_VALUE_SIZE]) {
  bind_key(s->get, key);
  int rc = sqlite3_step(s->get);
  bool found = rc == SQLITE_ROW;
  if (found) {
    const void *bytes = sqlite3_column_blob(s->get, 0);
    if (sqlite3_column_bytes(s->get, 0) != (int)KV_VALUE_SIZE) bench_fail("a value of another size");
    memcpy(value, bytes, KV_VALUE_SIZE);
  }
  sql_check(s->db, rc);
  sql_check(s->db, sqlite3_reset(s->get));
  return found;
}

static unsigned scan(kv *s, const char *key, unsigned most) {
  unsigned rows = 0;
  int rc;
  bind_key(s->scan, key);
  sql_check(s->db, sqlite3_bind_int64(s->scan, 2, most));
  for (; (rc = sqlite3_step(s->scan)) == SQLITE_ROW; rows++)
    kv_look(sqlite3_column_text(s->scan, 0), sqlite3_column_blob(s->scan, 1));
  sql_check(s->db, rc);
  sql_check(s->db, sqlite3_reset(s->scan));
  return rows;
}

static double size(kv *s) {
  if (s->prefix != NULL) return kv_folder_size(s->folder, s->prefix);
  int64_t *figures = (int64_t[2]){0};
  const char *const pragmas[] = {"PRAGMA page_count", "PRAGMA page_size"};
  for (int i = 0; i < 2; i++) {
    sqlite3_stmt *statement = sql_prepare(s->db, pragmas[i]);
    sql_check(s->db, sqlite3_step(statement));
    figures[i] = sqlite3_column_int64(statement, 0);
    sql_check(s->db, sqlite3_finalize(statement));
  }
  return (double)(figures[0] * figures[1]);
}

/* ------------------------------------------------------------------ tables -- */

static kv *open_memory(const char *folder) { return open_table(":memory:", folder, "", NULL, ORDINARY); }

static kv *open_pmem(const char *folder) {
  kv *s = open_table("file:%s/kv-pmem.db?vfs=pmem", folder, "", NULL, ORDINARY);
  s->prefix = "kv-pmem.db";
  return s;
}

static kv *open_wal(const char *folder) {
  kv *s = open_table("file:%s/kv-wal.db?vfs=unix", folder, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", NULL, ORDINARY);
  s->prefix = "kv-wal.db";
  return s;
}

static kv *open_pmemkv(const char *folder) {
  kv *s = open_table(":memory:", folder, "", NULL, "CREATE VIRTUAL TABLE kv USING pmemkv(path='%s/table.kv')");
  s->prefix = "table.kv";
  return s;
}

static kv *open_lsm1(const char *folder) {
  kv *s = open_table(":memory:", folder, "", "LSM_LIBRARY", "CREATE VIRTUAL TABLE kv USING lsm1('%s/kv.lsm',key,TEXT,value)");
  sql_check(s->db, sqlite3_finalize(s->scan));
  s->scan = sql_prepare(s->db, SCAN " LIMIT ?2");
  s->prefix = "kv.lsm";
  return s;
}

#define METHODS close_table, begin, commit, put, delete, get, scan, size

const kv_driver kv_sql_memory = {":memory:", open_memory, METHODS};
const kv_driver kv_sql_pmemkv = {"pmemkv", open_pmemkv, METHODS};
const kv_driver kv_sql_pmem = {"VFS pmem", open_pmem, METHODS};
const kv_driver kv_sql_wal = {"stock WAL FULL", open_wal, METHODS};
const kv_driver kv_sql_lsm1 = {"lsm1", open_lsm1, METHODS};
