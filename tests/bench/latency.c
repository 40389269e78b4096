/*
** latency.c - how long the slowest commits take, over hundreds of checkpoints.
**
** Single-row updates in autocommit, each timed by itself; the engines take turns after
** every ten thousand.  A checkpoint is whatever frees log for new commits: a superblock
** written for pmem, a WAL begun anew for stock SQLite.  Both count themselves on media,
** and that is read there.  A loop that only looks at the clock, for about as long as a
** commit takes, shows what the machine itself does to the slowest: interrupts, and whatever
** else wants the processor.
*/
#include "bench.h"
#include "harness.h"
#include "sql.h"

#include "../../vfs/store/format.h"

#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define ROWS 100000u
#define TURN 10000u
#define COMMITS 600000u
#define ENGINES 2u
#define IDLE_US 3.0

typedef struct timed {
  const char *name, *log; /* the log's path */
  uint64_t (*checkpoints)(const char *log);
  uint64_t before;
  sqlite3 *db;
  sqlite3_stmt *update;
  double *us;
} timed;

static void read_at(const char *path, off_t offset, void *to, size_t n) {
  int fd = open(path, O_RDONLY);
  if (fd < 0 || pread(fd, to, n, offset) != (ssize_t)n) bench_fail("%s cannot be read", path);
  (void)close(fd);
}

static uint64_t superblocks_written(const char *log) {
  spm_superblock slots[2];
  for (int i = 0; i < 2; i++) read_at(log, (off_t)i * SPM_SUPERBLOCK_STRIDE, &slots[i], sizeof slots[i]);
  return slots[0].sequence > slots[1].sequence ? slots[0].sequence : slots[1].sequence;
}

static uint64_t wals_begun(const char *log) {
  uint32_t number;
  read_at(log, 12, &number, sizeof number);
  return be32toh(number);
}

static void timed_begin(timed *t) {
  t->us = calloc(COMMITS, sizeof *t->us);
  if (t->us == NULL) bench_fail("out of memory");
}

static void timed_open(timed *t, const char *uri, const char *folder, const char *pragmas, const char *log) {
  t->db = sql_open(uri, folder, pragmas);
  sql_run(t->db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
                 "INSERT INTO t SELECT i, printf('%0100d', i) FROM n");
  t->update = sql_prepare(t->db, "UPDATE t SET v = printf('%0100d', ?2) WHERE id = ?1");
  t->log = sqlite3_mprintf("%s/%s", folder, log);
  if (t->log == NULL) bench_fail("out of memory");
  t->before = t->checkpoints(t->log);
  timed_begin(t);
}

static void timed_close(timed *t) {
  sql_close(t->db);
  free(t->us);
  sqlite3_free((void *)(uintptr_t)t->log);
}

static void take_turn(timed *t, unsigned first) {
  double before = bench_now_us();
  bench_seed(first);
  for (unsigned i = first; i < first + TURN; i++) {
    sql_check(t->db, sqlite3_bind_int64(t->update, 1, (sqlite3_int64)(bench_random() % ROWS) + 1));
    sql_check(t->db, sqlite3_bind_int64(t->update, 2, (sqlite3_int64)(bench_random() >> 32)));
    (void)sql_step_all(t->update);
    double now = bench_now_us();
    t->us[i] = now - before;
    before = now;
  }
}

static void take_idle_turn(timed *t, unsigned first) {
  double before = bench_now_us(), now = before;
  for (unsigned i = first; i < first + TURN; i++) {
    while (now < before + IDLE_US) now = bench_now_us();
    t->us[i] = now - before;
    before = now;
  }
}

static double quantile(const timed *t, double p) { return t->us[(size_t)(p * (COMMITS - 1))]; }

/* For the chart: a block an engine, and quantiles as far as they mean something. */
static void write_quantiles(const timed *engines) {
  static const double at[] = {0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995};
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/latency.dat", bench_data_folder());
  FILE *f = fopen(path, "w");
  if (f == NULL) bench_fail("%s cannot be written", path);
  fprintf(f, "# Latency of commits over hundreds of checkpoints: microseconds\n");
  for (unsigned e = 0; e < ENGINES; e++) {
    fprintf(f, "\"%s\"\n", engines[e].name);
    for (unsigned i = 0; i < sizeof at / sizeof *at; i++) fprintf(f, "%g %.2f\n", at[i], quantile(&engines[e], at[i]));
    fprintf(f, "\n\n");
  }
  if (fclose(f) != 0) bench_fail("%s cannot be written", path);
}

/* Sorts what was measured. */
static void print_row(timed *t) {
  char checkpoints[24] = "-";
  if (t->checkpoints != NULL)
    (void)snprintf(checkpoints, sizeof checkpoints, "%llu", (unsigned long long)(t->checkpoints(t->log) - t->before));
  bench_sort(t->us, COMMITS);
  printf("| %-15s | %8.1f | %8.1f | %8.1f | %8.1f | %8.0f | %9.1f | %11s |\n", t->name, quantile(t, 0.5), quantile(t, 0.99),
         quantile(t, 0.999), quantile(t, 0.9999), quantile(t, 1), quantile(t, 0.999) / quantile(t, 0.5), checkpoints);
}

void bench_latency(const char *folder) {
  timed idle = {.name = "nothing"};
  timed engines[ENGINES] = {{.name = "pmem", .checkpoints = superblocks_written},
                            {.name = "stock WAL FULL", .checkpoints = wals_begun}};
  timed_open(&engines[0], "file:%s/pmem.db?vfs=pmem", folder, "", "pmem.db-pmlog");
  timed_open(&engines[1], "file:%s/wal.db?vfs=unix", folder, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", "wal.db-wal");
  timed_begin(&idle);
  for (unsigned first = 0; first < COMMITS; first += TURN) {
    for (unsigned e = 0; e < ENGINES; e++) take_turn(&engines[e], first);
    take_idle_turn(&idle, first);
  }
  printf("\nLatency of single-row updates, %u commits each, on tmpfs: microseconds\n\n", COMMITS);
  printf("| %-15s | %8s | %8s | %8s | %8s | %8s | %9s | %11s |\n", "engine", "p50", "p99", "p99.9", "p99.99",
         "most", "p99.9/p50", "checkpoints");
  printf("|-----------------|---------:|---------:|---------:|---------:|---------:|----------:|------------:|\n");
  for (unsigned e = 0; e < ENGINES; e++) print_row(&engines[e]);
  print_row(&idle);
  write_quantiles(engines);
  for (unsigned e = 0; e < ENGINES; e++) timed_close(&engines[e]);
  free(idle.us);
}
