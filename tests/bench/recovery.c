/*
** recovery.c - how long a database keeps its users waiting, after a crash and after none.
**
** Both engines take turns on one file, small and large.  A child commits updates of two
** rows, one of them a counter, until its log has 10 MiB, and kills itself; then the time
** from opening to the first answer is taken, and the answer must be the last commit.  The
** other row is one of 2560, evenly spread over the file, or any row at all: then nearly
** every commit has a page of its own to bring up to date, which is the worst case.
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
#define PAGES_A_MB 256u
#define FEW (SMALL_MB * PAGES_A_MB) /* rows */
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
                               megabytes * PAGES_A_MB, ROW_SIZE);
  sql_run(db, fill);
  sqlite3_free(fill);
  sql_close(db);
}

typedef struct trial {
  const char *folder;
  unsigned rows;    /* in the file */
  unsigned changed; /* as many of them are changed */
  int64_t *commits; /* so far; shared with the child */
} trial;

/* The child: row 0 counts the commits. */
static void commit_and_die(const crasher *c, const trial *t) {
  struct stat s = {0};
  char *log = sqlite3_mprintf("%s/%s", t->folder, c->log);
  sqlite3 *db = sql_open(c->uri, t->folder, c->pragmas);
  sqlite3_stmt *update = sql_prepare(db, "UPDATE t SET k = ?1 WHERE id IN (0, ?2)");
  while (s.st_size < LOG_SIZE) {
    uint64_t row = bench_random() % t->changed * (t->rows / t->changed) + 1;
    sql_check(db, sqlite3_bind_int64(update, 1, *t->commits + 1));
    sql_check(db, sqlite3_bind_int64(update, 2, (sqlite3_int64)row));
    (void)sql_step_all(update);
    ++*t->commits;
    if (*t->commits % 16 == 0 && stat(log, &s) != 0) bench_fail("%s has gone", log);
  }
  (void)raise(SIGKILL);
}

/* Milliseconds to the first answer. */
static double open_ms(const crasher *c, const trial *t) {
  double start = bench_now_us();
  sqlite3 *db = sql_open(c->uri, t->folder, "");
  sqlite3_stmt *select = sql_prepare(db, "SELECT k FROM t WHERE id = 0");
  sql_check(db, sqlite3_step(select));
  double ms = (bench_now_us() - start) / 1000;
  if (sqlite3_column_int64(select, 0) != *t->commits)
    bench_fail("%s: %lld commits came back, and %lld were made", c->name,
               (long long)sqlite3_column_int64(select, 0), (long long)*t->commits);
  sql_close(db);
  return ms;
}

static void crash(const crasher *c, const trial *t) {
  int status;
  (void)fflush(stdout);
  pid_t child = fork();
  if (child == 0) commit_and_die(c, t);
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) bench_fail("the child did not crash");
}

typedef struct figures {
  double recovery_ms[ENGINES], opening_ms[ENGINES], commits[ENGINES];
} figures;

static void measure(const trial *t, figures *f) {
  double recovery[ENGINES][ROUNDS], opening[ENGINES][ROUNDS], commits[ENGINES][ROUNDS];
  for (unsigned round = 0; round < ROUNDS; round++)
    for (unsigned e = 0; e < ENGINES; e++) {
      int64_t before = *t->commits;
      crash(&crashers[e], t);
      commits[e][round] = (double)(*t->commits - before);
      recovery[e][round] = open_ms(&crashers[e], t);
      opening[e][round] = open_ms(&crashers[e], t);
    }
  for (unsigned e = 0; e < ENGINES; e++) {
    f->recovery_ms[e] = bench_median(recovery[e], ROUNDS);
    f->opening_ms[e] = bench_median(opening[e], ROUNDS);
    f->commits[e] = bench_median(commits[e], ROUNDS);
  }
}

static void rows_of_size(bench_table *table, const char *folder, unsigned megabytes, int64_t *commits) {
  char name[64];
  figures f;
  trial t = {folder, megabytes * PAGES_A_MB, FEW, commits};
  *commits = 0;
  build(folder, megabytes);
  measure(&t, &f);
  (void)snprintf(name, sizeof name, "untouched, %u MB", megabytes);
  bench_row(table, name, f.opening_ms);
  (void)snprintf(name, sizeof name, "after a crash, %u MB", megabytes);
  bench_row(table, name, f.recovery_ms);
  bench_row(table, "(commits in the log)", f.commits);
  if (t.rows == t.changed) return;
  t.changed = t.rows;
  measure(&t, &f);
  bench_row(table, "changes all over the file", f.recovery_ms);
  bench_row(table, "(commits in the log)", f.commits);
}

void bench_recovery(const char *folder) {
  bench_engine engines[ENGINES];
  bench_table t;
  int64_t *commits = mmap(NULL, sizeof *commits, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (commits == MAP_FAILED) bench_fail("out of memory");
  for (unsigned e = 0; e < ENGINES; e++) engines[e] = (bench_engine){.name = crashers[e].name};
  bench_table_begin(&t, "recovery", "Opening a database, on tmpfs: milliseconds to the first answer", engines, ENGINES);
  rows_of_size(&t, folder, SMALL_MB, commits);
  rows_of_size(&t, folder, bench_setting("LARGE_MB", LARGE_MB, 1u << 20), commits);
  bench_table_end(&t);
  (void)munmap(commits, sizeof *commits);
}
