/*
** database.c - the VFS against :memory: and stock SQLite.
**
** One table of 100 000 rows of about 110 bytes in each engine; default pragmas, and for
** stock WAL synchronous=FULL, which is what makes its commits as durable as ours.
*/
#include "bench.h"
#include "harness.h"
#include "sql.h"

#define ROWS 100000

typedef struct database {
  sqlite3 *db;
  sqlite3_stmt *insert, *update, *select, *scan, *load, *unload, *begin, *commit;
  int64_t next_id;
} database;

static void database_open(database *d, const char *uri, const char *folder, const char *pragmas) {
  d->db = sql_open(uri, folder, pragmas);
  sql_run(d->db, "CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT);"
                 "CREATE TABLE bulk(id INTEGER PRIMARY KEY, k INTEGER, v TEXT);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
                 "INSERT INTO t SELECT i, i * 7919 % 100003, printf('%0100d', i) FROM n");
  d->next_id = ROWS + 1;
  d->insert = sql_prepare(d->db, "INSERT INTO t VALUES(?1, ?2, printf('%0100d', ?2))");
  d->update = sql_prepare(d->db, "UPDATE t SET k = ?2, v = printf('%0100d', ?2) WHERE id = ?1");
  d->select = sql_prepare(d->db, "SELECT v FROM t WHERE id = ?1");
  d->scan = sql_prepare(d->db, "SELECT sum(k), sum(length(v)) FROM t");
  d->load = sql_prepare(d->db, "INSERT INTO bulk SELECT id, k, v FROM t WHERE id <= 20000");
  d->unload = sql_prepare(d->db, "DELETE FROM bulk");
  d->begin = sql_prepare(d->db, "BEGIN");
  d->commit = sql_prepare(d->db, "COMMIT");
}

static void bind(database *d, sqlite3_stmt *statement, int at, int64_t value) {
  sql_check(d->db, sqlite3_bind_int64(statement, at, value));
}
static int64_t random_row(void) { return (int64_t)(bench_random() % ROWS) + 1; }
static int64_t random_value(void) { return (int64_t)(bench_random() >> 32); }

/* -------------------------------------------------------------- workloads -- */

static void insert(void *self) {
  database *d = self;
  bind(d, d->insert, 1, d->next_id++);
  bind(d, d->insert, 2, random_value());
  (void)sql_step_all(d->insert);
}

static void update(void *self) {
  database *d = self;
  bind(d, d->update, 1, random_row());
  bind(d, d->update, 2, random_value());
  (void)sql_step_all(d->update);
}

static void ten_updates(void *self) {
  database *d = self;
  (void)sql_step_all(d->begin);
  for (int i = 0; i < 10; i++) update(d);
  (void)sql_step_all(d->commit);
}

static void point_select(void *self) {
  database *d = self;
  bind(d, d->select, 1, random_row());
  if (sql_step_all(d->select) != 1) bench_fail("a row is missing");
}

static void scan(void *self) { (void)sql_step_all(((database *)self)->scan); }

static void load(void *self) { (void)sql_step_all(((database *)self)->load); }
static void unload(void *self) { (void)sql_step_all(((database *)self)->unload); }

/* BEGIN alone begins nothing. */
static void begin_reading(void *self) { sql_run(((database *)self)->db, "BEGIN; SELECT count(*) FROM bulk"); }
static void end_reading(void *self) { sql_run(((database *)self)->db, "COMMIT"); }

#define WORKLOADS(commits)                                                                              \
  {                                                                                                     \
    {"insert, autocommit", insert, (commits), NULL, NULL},                                              \
    {"update, autocommit", update, (commits), NULL, NULL},                                              \
    {"transaction of ten updates", ten_updates, (commits) / 5, NULL, NULL},                             \
    {"point select", point_select, 4000, NULL, NULL},                                                   \
    {"point select in a transaction", point_select, 4000, begin_reading, end_reading},                  \
    {"scan of 100 000 rows", scan, 1, NULL, NULL}, {"load of 20 000 rows", load, 1, NULL, unload},      \
  }

static const bench_workload on_tmpfs[] = WORKLOADS(1000), on_disk[] = WORKLOADS(100);
#define WORKLOAD_COUNT (sizeof on_tmpfs / sizeof *on_tmpfs)

#define WAL_FULL "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"

void bench_database(const char *folder, unsigned rounds) {
  static database memory, ours, wal, journal;
  const bench_engine engines[] = {
      {":memory:", &memory}, {"pmem", &ours}, {"stock WAL FULL", &wal}, {"stock default", &journal}};
  bench_table t;
  database_open(&memory, ":memory:", folder, "");
  database_open(&ours, "file:%s/pmem.db?vfs=pmem", folder, "");
  database_open(&wal, "file:%s/wal.db?vfs=unix", folder, WAL_FULL);
  database_open(&journal, "file:%s/default.db?vfs=unix", folder, "");
  bench_table_begin(&t, "database", "The VFS, on tmpfs: time relative to :memory:", engines, 4);
  bench_compare(&t, on_tmpfs, WORKLOAD_COUNT, rounds);
  bench_table_end(&t);
  for (unsigned i = 0; i < 4; i++) sql_close(((database *)engines[i].self)->db);
}

/* The last two may lose commits of the last second, or of the time since the last checkpoint,
** to a power failure. */
void bench_database_on_disk(const char *folder, unsigned rounds) {
  static database ours, wal, journal, later, normal;
  const bench_engine engines[] = {{"stock WAL FULL", &wal},
                                  {"pmem", &ours},
                                  {"stock default", &journal},
                                  {"pmem async", &later},
                                  {"WAL NORMAL", &normal}};
  const unsigned count = sizeof engines / sizeof *engines;
  bench_table t;
  database_open(&wal, "file:%s/wal.db?vfs=unix", folder, WAL_FULL);
  database_open(&ours, "file:%s/pmem.db?vfs=pmem", folder, "");
  database_open(&journal, "file:%s/default.db?vfs=unix", folder, "");
  database_open(&later, "file:%s/async.db?vfs=pmem&pmem_mode=async", folder, "");
  database_open(&normal, "file:%s/normal.db?vfs=unix", folder, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL");
  bench_table_begin(&t, "disk", "The VFS, on disk: time relative to stock WAL with synchronous=FULL", engines, count);
  bench_compare(&t, on_disk, WORKLOAD_COUNT, rounds);
  bench_table_end(&t);
  for (unsigned i = 0; i < count; i++) sql_close(((database *)engines[i].self)->db);
}
