/*
** bench.h - the benchmarks: each measures in scratch folders of its own, and prints.
*/
#ifndef SPM_BENCH_H
#define SPM_BENCH_H

void bench_database(const char *folder, unsigned rounds);
void bench_database_on_disk(const char *folder, unsigned rounds);
void bench_kv_sql(const char *folder, unsigned rounds, unsigned keys);
void bench_kv_c(const char *folder, unsigned rounds, unsigned keys);
void bench_latency(const char *folder);
void bench_recovery(const char *folder);

#endif
