/*
** bench.c - the VFS against :memory: and stock SQLite, side by side.
**
** Every workload runs on every engine in turn, round after round, so that a noisy
** machine is noisy for all of them; the figure is the median of the rounds.  Times
** are microseconds an operation; ratios are to :memory: (tmpfs) or to stock WAL with
** synchronous=FULL (disk): below 1 is faster.
**
**     bench LIBRARY tmpfs|disk FOLDER [ROUNDS]
*/
#include <sqlite3.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROWS 100000
#define ROUNDS_MAX 101

typedef struct engine {
  const char *name;
  const char *uri;    /* %s: the folder */
  const char *pragmas;
  sqlite3 *db;
  sqlite3_stmt *insert, *update, *select, *scan, *load, *begin, *commit;
  int64_t next_id;
} engine;

static engine tmpfs_engines[] = {
    {.name = ":memory:", .uri = "file::memory:", .pragmas = ""},
    {.name = "pmem", .uri = "file:%s/pmem.db?vfs=pmem", .pragmas = ""},
    {.name = "stock WAL FULL", .uri = "file:%s/wal.db?vfs=unix", .pragmas = "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"},
    {.name = "stock default", .uri = "file:%s/default.db?vfs=unix", .pragmas = ""},
};
static engine disk_engines[] = {
    {.name = "stock WAL FULL", .uri = "file:%s/wal.db?vfs=unix", .pragmas = "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"},
    {.name = "pmem", .uri = "file:%s/pmem.db?vfs=pmem", .pragmas = ""},
};

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void check(sqlite3 *db, int rc) {
  if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW) return;
  fprintf(stderr, "bench: %s\n", sqlite3_errmsg(db));
  exit(1);
}

static void run(sqlite3 *db, const char *sql) { check(db, sqlite3_exec(db, sql, NULL, NULL, NULL)); }

static sqlite3_stmt *prepare(engine *e, const char *sql) {
  sqlite3_stmt *statement = NULL;
  check(e->db, sqlite3_prepare_v3(e->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL));
  return statement;
}

static void step_all(engine *e, sqlite3_stmt *statement) {
  int rc;
  while ((rc = sqlite3_step(statement)) == SQLITE_ROW) (void)sqlite3_column_text(statement, 0);
  check(e->db, rc);
  check(e->db, sqlite3_reset(statement));
}

static void engine_open(engine *e, const char *folder) {
  char uri[1024];
  (void)snprintf(uri, sizeof uri, e->uri, folder);
  check(e->db, sqlite3_open_v2(uri, &e->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL));
  run(e->db, e->pragmas);
  run(e->db, "CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT);"
             "CREATE TABLE bulk(id INTEGER PRIMARY KEY, k INTEGER, v TEXT);"
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
             "INSERT INTO t SELECT i, i * 7919 % 100003, printf('%0100d', i) FROM n");
  e->next_id = ROWS + 1;
  e->insert = prepare(e, "INSERT INTO t VALUES(?1, ?2, printf('%0100d', ?2))");
  e->update = prepare(e, "UPDATE t SET k = ?2, v = printf('%0100d', ?2) WHERE id = ?1");
  e->select = prepare(e, "SELECT v FROM t WHERE id = ?1");
  e->scan = prepare(e, "SELECT sum(k), sum(length(v)) FROM t");
  e->load = prepare(e, "INSERT INTO bulk SELECT id, k, v FROM t WHERE id <= 20000");
  e->begin = prepare(e, "BEGIN");
  e->commit = prepare(e, "COMMIT");
}

static void engine_close(engine *e) {
  sqlite3_stmt *statement;
  while ((statement = sqlite3_next_stmt(e->db, NULL)) != NULL) (void)sqlite3_finalize(statement);
  check(e->db, sqlite3_close(e->db));
}

/* -------------------------------------------------------------- workloads -- */

static void one_insert(engine *e) {
  check(e->db, sqlite3_bind_int64(e->insert, 1, e->next_id++));
  check(e->db, sqlite3_bind_int64(e->insert, 2, (sqlite3_int64)(next_random() >> 32)));
  step_all(e, e->insert);
}
static void one_update(engine *e) {
  check(e->db, sqlite3_bind_int64(e->update, 1, (sqlite3_int64)(next_random() % ROWS) + 1));
  check(e->db, sqlite3_bind_int64(e->update, 2, (sqlite3_int64)(next_random() >> 32)));
  step_all(e, e->update);
}
static void ten_updates(engine *e) {
  step_all(e, e->begin);
  for (int i = 0; i < 10; i++) one_update(e);
  step_all(e, e->commit);
}
static void one_select(engine *e) {
  check(e->db, sqlite3_bind_int64(e->select, 1, (sqlite3_int64)(next_random() % ROWS) + 1));
  step_all(e, e->select);
}
static void one_scan(engine *e) { step_all(e, e->scan); }
static void one_load(engine *e) {
  step_all(e, e->load);
  run(e->db, "DELETE FROM bulk");
}

static const struct workload {
  const char *name;
  void (*operation)(engine *);
  int count;           /* operations a round on tmpfs; a tenth on disk where commits count */
  bool in_transaction; /* the whole round is one */
  bool commits;
} workloads[] = {
    {"insert, autocommit", one_insert, 1000, false, true},
    {"update, autocommit", one_update, 1000, false, true},
    {"transaction of ten updates", ten_updates, 200, false, true},
    {"point select", one_select, 4000, false, false},
    {"point select in a transaction", one_select, 4000, true, false},
    {"scan of 100 000 rows", one_scan, 1, false, false},
    {"load of 20 000 rows", one_load, 1, false, true},
};
#define WORKLOADS (sizeof workloads / sizeof *workloads)

static double measure(engine *e, const struct workload *w, int count) {
  if (w->in_transaction) run(e->db, "BEGIN; SELECT count(*) FROM bulk");
  double start = now_us();
  for (int i = 0; i < count; i++) w->operation(e);
  double us = (now_us() - start) / count;
  if (w->in_transaction) run(e->db, "COMMIT");
  return us;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}
static double median(double *values, int n) {
  qsort(values, (size_t)n, sizeof *values, compare);
  return values[n / 2];
}

/* Figures below the text, a bar a ratio: 20 characters are 1.0. */
static void print_row(const char *name, const char *engine_name, double us, double ratio) {
  char bar[41] = "########################################";
  int length = (int)(ratio * 20 + 0.5);
  bar[length > 40 ? 40 : length] = 0;
  printf("%-30s  %-15s %10.2f us %7.2f  %s%s\n", name, engine_name, us, ratio, bar, length > 40 ? "..." : "");
}

static void compare_engines(engine *engines, int n, const char *folder, int rounds, bool disk) {
  static double times[WORKLOADS][4][ROUNDS_MAX];
  for (int i = 0; i < n; i++) engine_open(&engines[i], folder);
  for (int round = 0; round < rounds; round++)
    for (size_t w = 0; w < WORKLOADS; w++) {
      int count = workloads[w].count;
      if (disk && workloads[w].commits && count > 10) count /= 10;
      for (int i = 0; i < n; i++) times[w][i][round] = measure(&engines[(i + round) % n], &workloads[w], count);
      /* The slot a time went to must be its engine's, whoever began the round. */
      double rotated[4];
      for (int i = 0; i < n; i++) rotated[(i + round) % n] = times[w][i][round];
      for (int i = 0; i < n; i++) times[w][i][round] = rotated[i];
    }
  for (size_t w = 0; w < WORKLOADS; w++) {
    double base = 0;
    for (int i = 0; i < n; i++) {
      double us = median(times[w][i], rounds);
      if (i == 0) base = us;
      print_row(i == 0 ? workloads[w].name : "", engines[i].name, us, us / base);
    }
  }
  for (int i = 0; i < n; i++) engine_close(&engines[i]);
}

static void load_library(const char *library) {
  sqlite3 *db;
  char *error = NULL;
  check(NULL, sqlite3_open(":memory:", &db));
  check(db, sqlite3_enable_load_extension(db, 1));
  if (sqlite3_load_extension(db, library, NULL, &error) != SQLITE_OK) {
    fprintf(stderr, "bench: loading %s: %s\n", library, error);
    exit(1);
  }
  check(db, sqlite3_close(db));
}

int main(int argc, char **argv) {
  bool disk = argc > 2 && strcmp(argv[2], "disk") == 0;
  if (argc < 4 || (!disk && strcmp(argv[2], "tmpfs") != 0)) {
    fprintf(stderr, "usage: %s LIBRARY tmpfs|disk FOLDER [ROUNDS]\n", argv[0]);
    return 2;
  }
  int rounds = argc > 4 ? atoi(argv[4]) : 21;
  if (rounds < 1 || rounds > ROUNDS_MAX) rounds = 21;
  load_library(argv[1]);
  printf("SQLite %s, %d rows, medians of %d interleaved rounds\n", sqlite3_libversion(), ROWS, rounds);
  if (disk) {
    printf("on a disk folder; ratio to stock WAL with synchronous=FULL\n\n");
    compare_engines(disk_engines, 2, argv[3], rounds, true);
  } else {
    printf("on tmpfs, persistent memory emulated; ratio to :memory:\n\n");
    compare_engines(tmpfs_engines, 4, argv[3], rounds, false);
  }
  return 0;
}
