/*
** main.c - the crash-state enumerator: options, workers, the table at the end.
**
**     --seed N        the seed of everything (printed; a random one otherwise)
**     --images N      about so many images, nested ones on top (default 20000)
**     --workload X    only this one        --medium pmem|file   only this one
**     --units N       of each workload at most so many units
**     --unit N        only this unit       --unit-seed N        with this seed
**     --jobs N        processes (default 2)
**     --nested N      of one image in N the reopening is cut off as well (default 8)
**     --keep FOLDER   where the images and traces of failures go
**     --least N       fail if there were fewer distinct images
**     --first         stop at the first failure
**     --soak          go on until stopped
**     --list          the workloads
**
** Exit 0: no failure; 1: failures; 2: the enumerator itself could not go on.
*/
#define _GNU_SOURCE
#include "crash.h"

#include "../../vfs/vfs.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKLOADS_MAX 32u
#define MEDIA 2u
#define UNIT_IMAGES_LEAST 24u

noreturn void crash_die(const char *what) {
  (void)fprintf(stderr, "crash: %s: %s\n", what, strerror(errno));
  _exit(2);
}

static struct {
  uint64_t seed, images, least, nested, units, unit, unit_seed;
  unsigned jobs;
  const char *workload, *medium, *keep;
  bool first, soak, one_unit, seeded_unit;
} options = {.images = 20000, .nested = 8, .jobs = 2};

typedef struct shared {
  _Atomic uint64_t next; /* unit of work */
  atomic_bool stop;
  tally tallies[WORKLOADS_MAX][MEDIA];
  char doing[16][500]; /* of each worker */
} shared;
static shared *all;

static char folders[300];

/* ------------------------------------------------------------- the plan -- */

/* A part of the run: a workload on a medium, with so many units of so many images. */
typedef struct part {
  const workload *work;
  uint32_t number, units;
  uint64_t images;
  bool file;
} part;
static part parts[WORKLOADS_MAX * MEDIA];
static uint32_t part_count;

static bool wanted(const workload *w, bool file) {
  if (options.workload != NULL && strcmp(options.workload, w->name) != 0) return false;
  if (options.medium != NULL && strcmp(options.medium, file ? "file" : "pmem") != 0) return false;
  return file ? w->file : w->pmem;
}

/* Every unit of a workload at least once; where its share is too small for that it gets
** fewer images each, where it is larger more units, with other seeds. */
static void plan(void) {
  uint64_t weights = 0;
  for (uint32_t i = 0; workloads[i] != NULL; i++)
    for (unsigned file = 0; file < MEDIA; file++)
      if (wanted(workloads[i], file)) weights += workloads[i]->weight;
  for (uint32_t i = 0; workloads[i] != NULL; i++)
    for (unsigned file = 0; file < MEDIA; file++) {
      const workload *w = workloads[i];
      if (!wanted(w, file)) continue;
      uint64_t share = options.images * w->weight / weights;
      uint64_t units = share / w->unit_images > w->units ? share / w->unit_images : w->units;
      uint64_t each = share / units > UNIT_IMAGES_LEAST ? share / units : UNIT_IMAGES_LEAST;
      if (options.units > 0 && units > options.units) units = options.units, each = share / units;
      if (options.one_unit) units = 1, each = options.images;
      parts[part_count++] = (part){w, i, (uint32_t)units, each, file != 0};
    }
}

/* Unit `n` of the run, parts in turn so that a failure of any shows early. */
static bool locate(uint64_t n, const part **found, uint32_t *unit) {
  for (uint32_t round = 0;; round++) {
    uint64_t here = 0;
    for (uint32_t i = 0; i < part_count; i++) here += parts[i].units > round;
    if (here == 0) return false;
    if (n >= here) {
      n -= here;
      continue;
    }
    for (uint32_t i = 0; i < part_count; i++) {
      if (parts[i].units <= round || n-- > 0) continue;
      *found = &parts[i];
      *unit = round;
      return true;
    }
  }
}

/* ------------------------------------------------------------- a worker -- */

static uint64_t name_sum(const char *text) {
  uint64_t sum = 0;
  while (*text != 0) sum = mix(sum + (uint8_t)*text++);
  return sum;
}

static bool work_on(uint64_t n, unsigned worker) {
  const part *p;
  uint32_t unit, lap = 0;
  while (!locate(n, &p, &unit)) { /* soak: again, with other seeds */
    uint64_t whole = 0;
    for (uint32_t i = 0; i < part_count; i++) whole += parts[i].units;
    if (!options.soak) return false;
    n -= whole;
    lap++;
  }
  stage at = {.unit = options.one_unit ? (uint32_t)options.unit : unit + lap * p->units, .file_medium = p->file};
  (void)snprintf(at.folder, sizeof at.folder, "%.200s/%u", folders, worker);
  at.seed = options.seeded_unit ? options.unit_seed
                                : mix(options.seed + name_sum(p->work->name) + p->file + UINT64_C(31) * at.unit) >> 16;
  budget b = {.images = p->images, .nested_one_in = options.nested, .keep = options.keep};
  explore_unit(p->work, &at, &b, &all->tallies[p->number][p->file]);
  return true;
}

static uint64_t failures(void) {
  uint64_t count = 0;
  for (unsigned i = 0; i < WORKLOADS_MAX; i++)
    for (unsigned m = 0; m < MEDIA; m++) count += atomic_load(&all->tallies[i][m].failures);
  return count;
}

static unsigned this_worker;

static void died(int number) {
  static const char text[] = "FAILURE: a signal while opening an image\n";
  char where[450];
  explore_describe(where, sizeof where);
  (void)snprintf(all->doing[this_worker], sizeof all->doing[0], "%s", where);
  (void)!write(2, text, sizeof text - 1);
  (void)signal(number, SIG_DFL);
  (void)raise(number);
}

static void worker(unsigned number) {
  char folder[300];
  this_worker = number;
  static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
  for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) (void)signal(deadly[i], died);
  (void)snprintf(folder, sizeof folder, "%.200s/%u", folders, number);
  if (mkdir(folder, 0700) != 0) crash_die("making a folder");
  if (spm_vfs_register(false) != SQLITE_OK) crash_die("registering the VFS");
  while (!atomic_load(&all->stop) && work_on(atomic_fetch_add(&all->next, 1), number))
    if (failures() >= (options.first ? 1 : 20)) atomic_store(&all->stop, true);
  _exit(0);
}

/* --------------------------------------------------------------- the end -- */

static void print_table(double seconds) {
  uint64_t nested = 0;
  (void)printf("%-12s %-5s %8s %10s %9s %9s %9s %10s %9s\n", "workload", "on", "units", "events", "points",
               "images", "nested", "redundant", "failures");
  for (uint32_t i = 0; i < part_count; i++) {
    const part *p = &parts[i];
    const tally *t = &all->tallies[p->number][p->file];
    (void)printf("%-12s %-5s %8llu %10llu %9llu %9llu %9llu %10llu %9llu\n", p->work->name, p->file ? "file" : "pmem",
                 (unsigned long long)t->units, (unsigned long long)t->events, (unsigned long long)t->points,
                 (unsigned long long)t->images, (unsigned long long)t->nested,
                 (unsigned long long)t->redundant_flushes, (unsigned long long)t->failures);
    nested += t->nested;
  }
  (void)printf("%llu distinct images (%llu of them in the middle of a recovery or after one), %llu failures, %.0f s, seed %llu\n",
               (unsigned long long)explore_distinct(), (unsigned long long)nested,
               (unsigned long long)failures(), seconds, (unsigned long long)options.seed);
}

static void interrupted(int number) {
  (void)number;
  atomic_store(&all->stop, true);
}

static uint64_t random_seed_of_run(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  return mix((uint64_t)now.tv_sec * 1000003u + (uint64_t)now.tv_nsec + (uint64_t)getpid()) >> 32;
}

static bool parse(int argc, char **argv) {
  static const struct option known[] = {
      {"seed", 1, NULL, 's'},   {"images", 1, NULL, 'i'}, {"workload", 1, NULL, 'w'}, {"medium", 1, NULL, 'm'},
      {"units", 1, NULL, 'N'},  {"unit", 1, NULL, 'u'},   {"unit-seed", 1, NULL, 'U'}, {"jobs", 1, NULL, 'j'},  {"nested", 1, NULL, 'n'},
      {"keep", 1, NULL, 'k'},   {"least", 1, NULL, 'L'},   {"first", 0, NULL, 'f'},  {"soak", 0, NULL, 'S'},     {"list", 0, NULL, 'l'},
      {NULL, 0, NULL, 0}};
  options.seed = random_seed_of_run();
  for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (c) {
      case 's': options.seed = strtoull(optarg, NULL, 10); break;
      case 'i': options.images = strtoull(optarg, NULL, 10); break;
      case 'w': options.workload = optarg; break;
      case 'm': options.medium = optarg; break;
      case 'N': options.units = strtoull(optarg, NULL, 10); break;
      case 'u': options.unit = strtoull(optarg, NULL, 10), options.one_unit = true; break;
      case 'U': options.unit_seed = strtoull(optarg, NULL, 10), options.seeded_unit = true; break;
      case 'j': options.jobs = (unsigned)strtoul(optarg, NULL, 10); break;
      case 'n': options.nested = strtoull(optarg, NULL, 10); break;
      case 'k': options.keep = optarg; break;
      case 'L': options.least = strtoull(optarg, NULL, 10); break;
      case 'f': options.first = true; break;
      case 'S': options.soak = true; break;
      case 'l':
        for (uint32_t i = 0; workloads[i] != NULL; i++) (void)printf("%-12s %s\n", workloads[i]->name, workloads[i]->meaning);
        exit(0);
      default: return false;
    }
  return optind == argc && options.jobs > 0 && options.jobs <= 16 && options.nested > 0;
}

static int wait_for_workers(const pid_t *workers) {
  int worst = 0;
  for (unsigned i = 0; i < options.jobs; i++) {
    int status;
    while (waitpid(workers[i], &status, 0) < 0)
      if (errno != EINTR) crash_die("waiting for a worker");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    worst = WIFEXITED(status) ? 2 : 1;
    (void)fprintf(stderr, "FAILURE: worker %u ended with status %x\n  %s\n", i, status, all->doing[i]);
  }
  return worst;
}

int main(int argc, char **argv) {
  pid_t workers[16];
  struct timespec begin, end;
  if (!parse(argc, argv)) {
    (void)fprintf(stderr, "usage: see the head of tests/crash/main.c\n");
    return 2;
  }
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) crash_die("mapping what workers share");
  explore_init();
  plan();
  if (part_count == 0) {
    (void)fprintf(stderr, "crash: no such workload on that medium (--list)\n");
    return 2;
  }
  (void)printf("seed %llu\n", (unsigned long long)options.seed);
  (void)snprintf(folders, sizeof folders, "/dev/shm/spm-crash.%d", (int)getpid());
  if (mkdir(folders, 0700) != 0) crash_die("making a folder");
  if (options.one_unit) options.jobs = 1, atomic_store(&all->next, 0);
  (void)signal(SIGINT, interrupted);
  (void)signal(SIGTERM, interrupted);
  (void)clock_gettime(CLOCK_MONOTONIC, &begin);
  for (unsigned i = 0; i < options.jobs; i++)
    if ((workers[i] = fork()) == 0) worker(i);
  int worst = wait_for_workers(workers);
  (void)clock_gettime(CLOCK_MONOTONIC, &end);
  print_table((double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
  char command[400];
  (void)snprintf(command, sizeof command, "rm -rf '%s'", folders);
  if (system(command) != 0) crash_die("removing the folders");
  bool enough = explore_distinct() >= options.least;
  if (!enough) (void)fprintf(stderr, "FAILURE: %llu distinct images were asked for\n", (unsigned long long)options.least);
  return worst != 0 ? worst : failures() > 0 || !enough;
}
