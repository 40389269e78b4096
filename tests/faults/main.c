/*
** main.c - every fault in every operation, on both media.
**
**     faults FOLDER        all of it; FOLDER is on tmpfs, and empty
**
**     SPM_FAULT            one case alone, as a report of a failure names it
**     SPM_FAULT_OPERATION  only operations whose names begin so
**     SPM_FAULT_STEP       of SQLite's own calls and allocations, the first ten and then every
**                          n-th; 17.  1: all of them, and of large operations too, for a long run
**     SPM_SEED             which ones they are; 0
**     SPM_FAULT_THIN       every n-th case only, of all (for slow builds); 1
**     SPM_FAULT_JOBS       processes at a time; as many as there are processors
**
** A case is a process of its own.  For one operation on one medium the faults are tried
** as N = 1, 2, 3... of each series, each with every error the N-th call knows, until the
** operation ends without meeting one.
*/
#define _GNU_SOURCE
#include "verdict.h"

#include "../../vfs/vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALWAYS 10u /* the first calls of a series are tried whatever the stride */
#define FAILURES_MAX 5u

typedef struct tally {
  unsigned cases, tolerated, refused, poisoned, failed;
  unsigned calls[FAULT_CALL_COUNT];
} tally;

typedef struct shared {
  expectation expected;
  outcome last;
} shared;

static const char *const series_names[] = {"engine", "parent", "memory"};
static unsigned long step = 17, thin = 1, seed;

static size_t operations_in_all(void) { return operation_count + key_operation_count; }
static const operation *operation_at(size_t i) {
  return i < operation_count ? &operations[i] : &key_operations[i - operation_count];
}

static unsigned long number_of(const char *variable, unsigned long otherwise) {
  const char *text = getenv(variable);
  return text != NULL ? strtoul(text, NULL, 10) : otherwise;
}

static void *share(size_t n) {
  void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  world_must(p != MAP_FAILED, "no shared memory");
  return p;
}

static bool succeeds(pid_t pid) {
  int status;
  world_must(pid >= 0 && waitpid(pid, &status, 0) == pid, "no process");
  if (WIFSIGNALED(status)) (void)fprintf(stderr, "  killed by signal %d\n", WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ------------------------------------------------------------------ cases -- */

static bool run_case(const operation *op, world *w, const fault *f, shared *s) {
  memset(&s->last, 0, sizeof s->last);
  pid_t pid = fork();
  if (pid == 0) {
    verdict_of(op, w, f, &s->expected, &s->last);
    _exit(0);
  }
  if (succeeds(pid)) return true;
  (void)fprintf(stderr, "  in: %s, %s, %s %lu, variant %u, %s\n", op->name, w->on_file ? "FILE" : "PMEM",
                series_names[f->series], f->at, f->variant, f->for_good ? "for good" : "once");
  return false;
}

static void learn(const operation *op, world *w, shared *s) {
  for (unsigned n = 0; n <= op->commits; n++) {
    pid_t pid = fork();
    if (pid == 0) {
      verdict_expect(op, w, n, &s->expected);
      _exit(0);
    }
    world_must(succeeds(pid), "%s without faults", op->name);
  }
}

static void count(tally *t, const outcome *o, bool held) {
  t->cases++;
  t->calls[o->where]++;
  t->failed += !held;
  t->tolerated += held && !o->refused;
  t->refused += o->refused;
  t->poisoned += o->poisoned;
}

/* Waiting for an interrupted call for ever is what a program is to do. */
static bool makes_sense(int error, bool for_good) {
  return !for_good || (error != EINTR && error != FAULT_SHORT);
}

/* Every error of the N-th call; false: there is no N-th call. */
static bool try_errors(const operation *op, world *w, fault f, shared *s, tally *t) {
  for (f.variant = 0; t->failed < FAILURES_MAX; f.variant++) {
    if (f.variant > 0 && !makes_sense(fault_error(s->last.where, f.variant), f.for_good)) {
      if (fault_error(s->last.where, f.variant) == 0) return true;
      continue;
    }
    if (f.variant > 0 && fault_error(s->last.where, f.variant) == 0) return true;
    fault_call where = s->last.where;
    bool held = run_case(op, w, &f, s);
    if (!s->last.fired && f.variant == 0) {
      t->failed += !held;
      return false;
    }
    if (!s->last.fired) { /* another call came in its place */
      s->last.where = where;
      continue;
    }
    count(t, &s->last, held);
  }
  return true;
}

static unsigned long stride_of(const operation *op, fault_series series) {
  unsigned long least = series == FAULT_ENGINE ? 1 : step;
  return op->stride > least && step > 1 ? op->stride : least;
}

static bool chosen(const operation *op, const fault *f) {
  static unsigned long turn;
  unsigned long stride = stride_of(op, f->series);
  return (f->at <= ALWAYS || f->at % stride == seed % stride) && turn++ % thin == 0;
}

static void try_all(const operation *op, world *w, tally *t) {
  shared *s = share(sizeof *s);
  learn(op, w, s);
  for (int good = 0; good < 2; good++)
    for (fault f = {.for_good = good}; f.series < FAULT_SERIES; f.series++) {
      bool more = true;
      for (f.at = 1; more && t->failed < FAILURES_MAX; f.at++)
        if (chosen(op, &f)) more = try_errors(op, w, f, s, t);
    }
}

/* ---------------------------------------------------------------- workers -- */

static void work(const char *folder, const operation *op, bool on_file, const fault *only, tally *t) {
  char base[256];
  world w = {.base = base, .on_file = on_file};
  (void)setenv("PMEM_IS_PMEM_FORCE", on_file ? "0" : "1", 1);
  (void)snprintf(base, sizeof base, "%s/XXXXXX", folder); /* not its number: so many processes use one twice */
  world_must(mkdtemp(base) != NULL, "making %s", base);
  fault_install();
  world_must(spm_vfs_register(false) == SQLITE_OK, "no VFS");
  world_make_images(&w);
  if (only == NULL) {
    try_all(op, &w, t);
  } else {
    shared *s = share(sizeof *s);
    learn(op, &w, s);
    bool held = run_case(op, &w, only, s);
    if (s->last.fired) count(t, &s->last, held);
    t->failed = !held;
  }
  _exit(0);
}

static void print_operation(const operation *op, bool on_file, const tally *t) {
  (void)printf("%-24s %s %6u cases: %6u refused, %6u made no difference, %4u poisoned%s\n", op->name,
               on_file ? "FILE" : "PMEM", t->cases, t->refused, t->tolerated, t->poisoned,
               t->failed ? "  FAILED" : "");
  (void)fflush(stdout);
}

static void add(tally *sum, const tally *t) {
  sum->cases += t->cases;
  sum->refused += t->refused;
  sum->tolerated += t->tolerated;
  sum->poisoned += t->poisoned;
  sum->failed += t->failed;
  for (unsigned i = 0; i < FAULT_CALL_COUNT; i++) sum->calls[i] += t->calls[i];
}

/* A call that no case failed is one this program says nothing about. */
static bool print_calls(const tally *sum, bool complete) {
  bool all = true;
  (void)printf("\ncases a call:");
  for (unsigned i = 0; i < FAULT_CALL_COUNT; i++) {
    (void)printf("%s %s %u", i % 6 == 0 ? "\n " : ",", fault_call_name((fault_call)i), sum->calls[i]);
    all = all && sum->calls[i] > 0;
  }
  (void)printf("\n");
  if (complete && !all) (void)printf("FAILED: not every call was met\n");
  return all || !complete;
}

typedef struct job {
  const operation *op;
  size_t number; /* of its tally */
  bool on_file;
  pid_t pid;
} job;

static tally *tally_of(tally *all, const job *j) { return &all[j->number]; }

static void start(const char *folder, job *j, tally *all, const fault *only) {
  (void)fflush(stdout);
  j->pid = fork();
  world_must(j->pid >= 0, "no process");
  if (j->pid == 0) work(folder, j->op, j->on_file, only, tally_of(all, j));
}

/* Wait for one of them; did it do what it was to do? */
static bool finish(const job *jobs, size_t started, tally *all) {
  int status;
  pid_t pid = wait(&status);
  world_must(pid > 0, "no worker");
  for (size_t i = 0; i < started; i++)
    if (jobs[i].pid == pid) print_operation(jobs[i].op, jobs[i].on_file, tally_of(all, &jobs[i]));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static unsigned run_jobs(const char *folder, job *jobs, size_t n, tally *all, const fault *only) {
  size_t at_a_time = number_of("SPM_FAULT_JOBS", (unsigned long)sysconf(_SC_NPROCESSORS_ONLN));
  size_t started = 0, finished = 0;
  unsigned broken = 0;
  while (finished < n) {
    if (started < n && started - finished < at_a_time) {
      start(folder, &jobs[started++], all, only);
      continue;
    }
    broken += !finish(jobs, started, all);
    finished++;
  }
  return broken;
}

/* "operation|medium|series|once or good|N|variant" */
static const char *parse(char *text, const operation **op, bool *on_file, fault *f) {
  char *part[6];
  for (int i = 0; i < 6; i++) part[i] = strsep(&text, "|");
  if (part[5] == NULL) return "six parts, please";
  for (size_t i = 0; i < operations_in_all(); i++)
    if (strcmp(operation_at(i)->name, part[0]) == 0) *op = operation_at(i);
  for (int i = 0; i < 3; i++)
    if (strcmp(series_names[i], part[2]) == 0) f->series = (fault_series)i;
  *on_file = strcmp(part[1], "FILE") == 0;
  f->for_good = strcmp(part[3], "good") == 0;
  f->at = strtoul(part[4], NULL, 10);
  f->variant = (unsigned)strtoul(part[5], NULL, 10);
  return *op ? NULL : "no such operation";
}

static size_t choose_jobs(job *jobs, char *single, fault *f) {
  const char *wanted = getenv("SPM_FAULT_OPERATION");
  size_t n = 0;
  if (single != NULL) {
    const char *wrong = parse(single, &jobs[0].op, &jobs[0].on_file, f);
    world_must(wrong == NULL, "SPM_FAULT: %s", wrong);
    return 1;
  }
  for (size_t i = 0; i < 2 * operations_in_all(); i++) {
    const operation *op = operation_at(i / 2);
    bool chosen_one = wanted == NULL || strncmp(op->name, wanted, strlen(wanted)) == 0;
    if (chosen_one) jobs[n++] = (job){.op = op, .number = i, .on_file = i % 2 != 0};
  }
  return n;
}

int main(int argc, char **argv) {
  world_must(argc == 2, "faults FOLDER");
  char *single = getenv("SPM_FAULT");
  size_t all = 2 * operations_in_all();
  job *jobs = calloc(all, sizeof *jobs);
  tally *tallies = share(all * sizeof *tallies), sum = {0};
  fault only = {0};
  step = number_of("SPM_FAULT_STEP", step);
  thin = number_of("SPM_FAULT_THIN", thin);
  seed = number_of("SPM_SEED", seed);
  size_t n = choose_jobs(jobs, single, &only);
  world_must(n > 0 && step > 0 && thin > 0, "nothing to do");
  unsigned broken = run_jobs(argv[1], jobs, n, tallies, single ? &only : NULL);
  for (size_t i = 0; i < all; i++) add(&sum, &tallies[i]);
  bool complete = n == all && thin == 1;
  bool met = print_calls(&sum, complete);
  (void)printf("%u cases: %u refused, %u made no difference, %u poisoned the store; %u failed\n", sum.cases,
               sum.refused, sum.tolerated, sum.poisoned, sum.failed);
  free(jobs);
  return broken == 0 && sum.failed == 0 && met && (single || sum.cases > 0) ? EXIT_SUCCESS : EXIT_FAILURE;
}
