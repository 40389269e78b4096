/*
** harness.h - the measuring that all benchmarks share: engines side by side.
**
** A *comparison* runs every workload on every engine, round after round, and turns the
** order of the engines with each round: whatever else the machine does, it does it to all
** of them.  In a round all engines get the same random numbers.  The figure is the median
** of the rounds, in microseconds an operation, and is shown relative to the first engine.
**
** A *table* has an engine a column.  It is printed row by row as Markdown, and written to
** a file of its own for the chart (chart.gp), blanks in names as "_".
**
** Whatever fails ends the program: a figure beside a failure is worth nothing.
*/
#ifndef SPM_BENCH_HARNESS_H
#define SPM_BENCH_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_ROUNDS_MAX 101u
#define BENCH_ENGINES_MAX 8u

typedef struct bench_engine {
  const char *name;
  void *self; /* what the workloads get */
} bench_engine;

typedef struct bench_workload {
  const char *name;
  void (*operation)(void *self);
  unsigned count;              /* operations a round */
  void (*before)(void *self);  /* each round, not timed; or NULL */
  void (*after)(void *self);
} bench_workload;

typedef struct bench_table {
  const bench_engine *engines; /* the first is the base of the ratios */
  unsigned count;
  FILE *data;
} bench_table;

/* Print title and heading; the rows also go to DATA_FOLDER/name.dat. */
void bench_table_begin(bench_table *, const char *name, const char *title, const bench_engine *, unsigned count);
void bench_table_end(bench_table *);
/* Measure, and add a row for each workload. */
void bench_compare(bench_table *, const bench_workload *, unsigned count, unsigned rounds);
/* A row of numbers in some unit, an engine a number, not for the chart. */
void bench_row(bench_table *, const char *name, const double *values);

/* Environment: DATA_FOLDER, ROUNDS, ...; the value when it is not set. */
unsigned bench_setting(const char *name, unsigned otherwise, unsigned most);
const char *bench_data_folder(void);

double bench_now_us(void);
double bench_median(double *values, unsigned n); /* sorts them */
void bench_sort(double *values, unsigned n);
/* Random numbers that begin again, the same, after bench_seed(). */
void bench_seed(uint64_t);
uint64_t bench_random(void);
/* A bijection that leaves no order. */
uint64_t bench_mix(uint64_t);

_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
