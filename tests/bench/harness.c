/*
** harness.c - see harness.h.
*/
#include "harness.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void bench_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("bench: ", stderr);
  (void)vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

unsigned bench_setting(const char *name, unsigned otherwise, unsigned most) {
  const char *text = getenv(name);
  if (text == NULL || *text == 0) return otherwise;
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (*end != 0 || value < 1 || value > most) bench_fail("%s=%s: a number from 1 to %u is wanted", name, text, most);
  return (unsigned)value;
}

const char *bench_data_folder(void) {
  const char *folder = getenv("DATA_FOLDER");
  return folder != NULL && *folder != 0 ? folder : ".";
}

/* -------------------------------------------------------- time and numbers -- */

double bench_now_us(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void bench_sort(double *values, unsigned n) { qsort(values, n, sizeof *values, compare_doubles); }

double bench_median(double *values, unsigned n) {
  bench_sort(values, n);
  return values[n / 2];
}

uint64_t bench_mix(uint64_t x) {
  x ^= x >> 30;
  x *= UINT64_C(0xbf58476d1ce4e5b9);
  x ^= x >> 27;
  x *= UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static uint64_t random_state;

void bench_seed(uint64_t seed) { random_state = seed; }
uint64_t bench_random(void) { return bench_mix(random_state += UINT64_C(0x9e3779b97f4a7c15)); }

/* ------------------------------------------------------------------ tables -- */

/* gnuplot takes a blank for the end of a column. */
static void write_name(FILE *to, const char *name) {
  for (; *name != 0; name++) (void)fputc(*name == ' ' ? '_' : *name, to);
}

void bench_table_begin(bench_table *t, const char *name, const char *title, const bench_engine *engines,
                       unsigned count) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/%s.dat", bench_data_folder(), name);
  *t = (bench_table){engines, count, fopen(path, "w")};
  if (t->data == NULL) bench_fail("%s cannot be written", path);
  printf("\n%s\n\n| %-30s |", title, "operation");
  fprintf(t->data, "# %s\noperation", title);
  for (unsigned i = 0; i < count; i++) {
    printf(" %15s |", engines[i].name);
    fputc('\t', t->data);
    write_name(t->data, engines[i].name);
  }
  printf("\n|--------------------------------|");
  for (unsigned i = 0; i < count; i++) printf("----------------:|");
  printf("\n");
  fputc('\n', t->data);
}

void bench_table_end(bench_table *t) {
  if (fclose(t->data) != 0) bench_fail("the data of the chart cannot be written");
}

static int decimals(double value) { return value < 0.0995 ? 3 : value < 9.95 ? 2 : value < 99.5 ? 1 : 0; }

static void print_medians(bench_table *t, const char *name, const double *us) {
  printf("| %-30s | %12.*f us |", name, decimals(us[0]), us[0]);
  write_name(t->data, name);
  fprintf(t->data, "\t1");
  for (unsigned i = 1; i < t->count; i++) {
    double ratio = us[i] / us[0];
    printf(" %15.*f |", decimals(ratio), ratio);
    fprintf(t->data, "\t%.4g", ratio);
  }
  printf("\n");
  fputc('\n', t->data);
  (void)fflush(stdout);
}

void bench_row(bench_table *t, const char *name, const double *values) {
  printf("| %-30s |", name);
  for (unsigned i = 0; i < t->count; i++) printf(" %15.*f |", decimals(values[i]), values[i]);
  printf("\n");
}

/* --------------------------------------------------------------- measuring -- */

static double measure(void *self, const bench_workload *w, uint64_t seed) {
  bench_seed(seed);
  if (w->before != NULL) w->before(self);
  double start = bench_now_us();
  for (unsigned i = 0; i < w->count; i++) w->operation(self);
  double us = (bench_now_us() - start) / w->count;
  if (w->after != NULL) w->after(self);
  return us;
}

void bench_compare(bench_table *t, const bench_workload *workloads, unsigned count, unsigned rounds) {
  typedef double rounds_us[BENCH_ENGINES_MAX][BENCH_ROUNDS_MAX];
  rounds_us *us = calloc(count, sizeof *us);
  if (us == NULL || t->count > BENCH_ENGINES_MAX || rounds > BENCH_ROUNDS_MAX) bench_fail("too much to compare");
  for (unsigned round = 0; round < rounds; round++)
    for (unsigned w = 0; w < count; w++)
      for (unsigned i = 0; i < t->count; i++) {
        unsigned e = (i + round) % t->count;
        us[w][e][round] = measure(t->engines[e].self, &workloads[w], bench_mix(round * count + w + 1));
      }
  for (unsigned w = 0; w < count; w++) {
    double medians[BENCH_ENGINES_MAX];
    for (unsigned e = 0; e < t->count; e++) medians[e] = bench_median(us[w][e], rounds);
    print_medians(t, workloads[w].name, medians);
  }
  free(us);
}
