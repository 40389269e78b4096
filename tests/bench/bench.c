/*
** bench.c - run one benchmark.
**
**     bench database|disk|kv-sql|kv-c|latency|recovery FOLDER
**
** FOLDER is a scratch folder, on tmpfs for all but `disk`.  Environment: PMEM_LIBRARY and
** LSM_LIBRARY, the extensions; DATA_FOLDER, where the chart's data goes; ROUNDS; KEYS, of
** a key-value store.
*/
#include "bench.h"

#include "harness.h"
#include "sql.h"

#include <string.h>

#define ROUNDS 21u

/* It stays in the process, and serves all connections opened later. */
static void load_pmem(void) {
  sqlite3 *db = sql_open(":memory:", "", "");
  sql_load(db, "PMEM_LIBRARY");
  sql_close(db);
}

int main(int argc, char **argv) {
  if (argc != 3) bench_fail("usage: bench database|disk|kv-sql|kv-c|latency|recovery FOLDER");
  const char *what = argv[1], *folder = argv[2];
  unsigned rounds = bench_setting("ROUNDS", ROUNDS, BENCH_ROUNDS_MAX);
  unsigned keys = bench_setting("KEYS", 100000, 100000000);
  load_pmem();
  if (strcmp(what, "database") == 0)
    bench_database(folder, rounds);
  else if (strcmp(what, "disk") == 0)
    bench_database_on_disk(folder, rounds);
  else if (strcmp(what, "kv-sql") == 0)
    bench_kv_sql(folder, rounds, keys);
  else if (strcmp(what, "kv-c") == 0)
    bench_kv_c(folder, rounds, keys);
  else if (strcmp(what, "latency") == 0)
    bench_latency(folder);
  else if (strcmp(what, "recovery") == 0)
    bench_recovery(folder);
  else
    bench_fail("there is no benchmark %s", what);
  return 0;
}
