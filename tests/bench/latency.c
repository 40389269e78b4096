/*
** latency.c - how long the slowest commits take, over hundreds of checkpoints.
**
** Transactions of one update; timed are the COMMIT alone, in which checkpoints happen, and
** all from BEGIN on.  The engines take turns after every ten thousand.  A checkpoint is
** whatever frees log for new commits: a superblock written for pmem, a WAL begun anew for
** stock SQLite.  Both count themselves on media, and that is read there.  A loop that only
** looks at the clock, for about as long as a transaction takes, shows what the machine itself
** does to the slowest: interrupts, and whatever else wants the processor.
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
  sqlite3_stmt *begin, *update, *commit;
  double *commit_us, *whole_us;
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

static double *times_new(void) {
  double *us = calloc(COMMITS, sizeof *us);
  if (us == NULL) bench_fail("out of memory");
  return us;
}

static void timed_open(timed *t, const char *uri, const char *folder, const char *pragmas, const char *log) {
  t->db = sql_open(uri, folder, pragmas);
  sql_run(t->db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
                 "INSERT INTO t SELECT i, printf('%0100d', i) FROM n");
  t->begin = sql_prepare(t->db, "BEGIN");
  t->commit = sql_prepare(t->db, "COMMIT");
  t->update = sql_prepare(t->db, "UPDATE t SET v = printf('%0100d', ?2) WHERE id = ?1");
  t->log = sqlite3_mprintf("%s/%s", folder, log);
  if (t->log == NULL) bench_fail("out of memory");
  t->before = t->checkpoints(t->log);
  t->commit_us = times_new();
  t->whole_us = times_new();
}

static void timed_close(timed *t) {
  sql_close(t->db);
  free(t->commit_us);
  free(t->whole_us);
  sqlite3_free((void *)(uintptr_t)t->log);
}

static void take_turn(timed *t, unsigned first) {
  bench_seed(first);
  for (unsigned i = first; i < first + TURN; i++) {
    sql_check(t->db, sqlite3_bind_int64(t->update, 1, (sqlite3_int64)(bench_random() % ROWS) + 1));
    sql_check(t->db, sqlite3_bind_int64(t->update, 2, (sqlite3_int64)(bench_random() >> 32)));
    double before = bench_now_us();
    (void)sql_step_all(t->begin);
    (void)sql_step_all(t->update);
    double changed = bench_now_us();
    (void)sql_step_all(t->commit);
    double committed = bench_now_us();
    t->commit_us[i] = committed - changed;
    t->whole_us[i] = committed - before;
  }
}

static void take_idle_turn(double *us, unsigned first) {
  double before = bench_now_us(), now = before;
  for (unsigned i = first; i < first + TURN; i++) {
    while (now < before + IDLE_US) now = bench_now_us();
    us[i] = now - before;
    before = now;
  }
}

/* Of what is sorted. */
static double quantile(const double *us, double p) { return us[(size_t)(p * (COMMITS - 1))]; }

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
    for (unsigned i = 0; i < sizeof at / sizeof *at; i++) fprintf(f, "%g %.2f\n", at[i], quantile(engines[e].commit_us, at[i]));
    fprintf(f, "\n\n");
  }
  if (fclose(f) != 0) bench_fail("%s cannot be written", path);
}

/* Sorts what was measured. */
static void print_row(const char *name, const char *what, double *us) {
  char row[48];
  (void)snprintf(row, sizeof row, "%s, %s", name, what);
  bench_sort(us, COMMITS);
  printf("| %-23s | %8.1f | %8.1f | %8.1f | %8.1f | %8.0f | %9.1f |\n", row, quantile(us, 0.5), quantile(us, 0.99),
         quantile(us, 0.999), quantile(us, 0.9999), quantile(us, 1), quantile(us, 0.999) / quantile(us, 0.5));
}

void bench_latency(const char *folder) {
  timed engines[ENGINES] = {{.name = "pmem", .checkpoints = superblocks_written},
                            {.name = "stock WAL FULL", .checkpoints = wals_begun}};
  timed_open(&engines[0], "file:%s/pmem.db?vfs=pmem", folder, "", "pmem.db-pmlog");
  timed_open(&engines[1], "file:%s/wal.db?vfs=unix", folder, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", "wal.db-wal");
  double *idle_us = times_new();
  for (unsigned first = 0; first < COMMITS; first += TURN) {
    for (unsigned e = 0; e < ENGINES; e++) take_turn(&engines[e], first);
    take_idle_turn(idle_us, first);
  }
  printf("\nLatency of single-row updates, %u commits each, on tmpfs: microseconds\n\n", COMMITS);
  printf("| %-23s | %8s | %8s | %8s | %8s | %8s | %9s |\n", "engine", "p50", "p99", "p99.9", "p99.99", "most", "p99.9/p50");
  printf("|-------------------------|---------:|---------:|---------:|---------:|---------:|----------:|\n");
  for (unsigned e = 0; e < ENGINES; e++) print_row(engines[e].name, "COMMIT", engines[e].commit_us);
  for (unsigned e = 0; e < ENGINES; e++) print_row(engines[e].name, "whole", engines[e].whole_us);
  print_row("nothing", "as long", idle_us);
  printf("\n");
  for (unsigned e = 0; e < ENGINES; e++)
    printf("%s: %llu checkpoints\n", engines[e].name,
           (unsigned long long)(engines[e].checkpoints(engines[e].log) - engines[e].before));
  write_quantiles(engines);
  for (unsigned e = 0; e < ENGINES; e++) timed_close(&engines[e]);
  free(idle_us);
}
