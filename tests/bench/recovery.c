/*
** recovery.c - how long a database keeps its users waiting, after a crash and after none.
**
** Both engines take turns on one file, small and large.  A child commits single-row
** updates, spread over the file, until its log has 10 MiB, and kills itself; then the time
** from opening to the first answer is taken, and the answer must be the last commit.
*/
#include "bench.h"
#include "harness.h"
#include "sql.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_SIZE ((off_t)10 << 20)
#define ROW_SIZE 3900u /* one a page */
#define LARGE_MB 2048u
#define SMALL_MB 10u
#define ROUNDS 5u
#define ENGINES 2u

typedef struct crasher {
  const char *name;
  const char *uri;     /* %s: the folder */
  const char *pragmas; /* so that the log grows so far */
  const char *log;
} crasher;

static const crasher crashers[ENGINES] = {
    {"stock WAL FULL", "file:%s/recovery.db?vfs=unix",
     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0", "recovery.db-wal"},
    {"pmem", "file:%s/recovery.db?vfs=pmem", "PRAGMA pmem_max_log_size='24M'", "recovery.db-pmlog"},
};

static void build(const char *folder, unsigned megabytes) {
  sqlite3 *db = sql_open("file:%s/recovery.db?vfs=unix", folder, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF");
  char *fill = sqlite3_mprintf("DROP TABLE IF EXISTS t; CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v BLOB);"
                               "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
                               "INSERT INTO t SELECT i, 0, zeroblob(%u) FROM n",
                               megabytes * 256, ROW_SIZE);
  sql_run(db, fill);
  sqlite3_free(fill);
  sql_close(db);
}

/* The child: row 0 counts the commits. */
static void commit_and_die(const crasher *c, const char *folder, unsigned rows, int64_t *commits) {
  struct stat s = {0};
  char *log = sqlite3_mprintf("%s/%s", folder, c->log);
  sqlite3 *db = sql_open(c->uri, folder, c->pragmas);
  sqlite3_stmt *update = sql_prepare(db, "UPDATE t SET k = ?1 WHERE id IN (0, ?2)");
  while (s.st_size < LOG_SIZE) {
    sql_check(db, sqlite3_bind_int64(update, 1, *commits + 1));
    sql_check(db, sqlite3_bind_int64(update, 2, (sqlite3_int64)(bench_random() % rows) + 1));
    (void)sql_step_all(update);
    ++*commits;
    if (*commits % 16 == 0 && stat(log, &s) != 0) bench_fail("%s has gone", log);
  }
  (void)raise(SIGKILL);
}

/* Milliseconds to the first answer. */
static double open_ms(const crasher *c, const char *folder, int64_t wanted) {
  double start = bench_now_us();
  sqlite3 *db = sql_open(c->uri, folder, "");
  sqlite3_stmt *select = sql_prepare(db, "SELECT k FROM t WHERE id = 0");
  sql_check(db, sqlite3_step(select));
  double ms = (bench_now_us() - start) / 1000;
  if (sqlite3_column_int64(select, 0) != wanted)
    bench_fail("%s: %lld commits came back, and %lld were made", c->name,
               (long long)sqlite3_column_int64(select, 0), (long long)wanted);
  sql_close(db);
  return ms;
}

static double recovery_ms(const crasher *c, const char *folder, unsigned rows, int64_t *commits) {
  int status;
  (void)fflush(stdout);
  pid_t child = fork();
  if (child == 0) commit_and_die(c, folder, rows, commits);
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) bench_fail("the child did not crash");
  return open_ms(c, folder, *commits);
}

static void measure(const char *folder, unsigned megabytes, bench_table *t) {
  double recovery[ENGINES][ROUNDS], opening[ENGINES][ROUNDS];
  int64_t *commits = mmap(NULL, sizeof *commits, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (commits == MAP_FAILED) bench_fail("out of memory");
  build(folder, megabytes);
  for (unsigned round = 0; round < ROUNDS; round++)
    for (unsigned e = 0; e < ENGINES; e++) {
      recovery[e][round] = recovery_ms(&crashers[e], folder, megabytes * 256, commits);
      opening[e][round] = open_ms(&crashers[e], folder, *commits);
    }
  double recoveries[ENGINES], openings[ENGINES];
  for (unsigned e = 0; e < ENGINES; e++) {
    recoveries[e] = bench_median(recovery[e], ROUNDS);
    openings[e] = bench_median(opening[e], ROUNDS);
  }
  char name[64];
  (void)snprintf(name, sizeof name, "recovery of 10 MiB, %u MB", megabytes);
  bench_row(t, name, recoveries);
  (void)snprintf(name, sizeof name, "opening untouched, %u MB", megabytes);
  bench_row(t, name, openings);
  (void)munmap(commits, sizeof *commits);
}

void bench_recovery(const char *folder) {
  bench_engine engines[ENGINES];
  bench_table t;
  for (unsigned e = 0; e < ENGINES; e++) engines[e] = (bench_engine){.name = crashers[e].name};
  bench_table_begin(&t, "recovery", "Opening a database, on tmpfs: milliseconds to the first answer", engines, ENGINES);
  measure(folder, SMALL_MB, &t);
  measure(folder, bench_setting("LARGE_MB", LARGE_MB, 1u << 20), &t);
  bench_table_end(&t);
}
