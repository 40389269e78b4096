/*
** crash.h - the crash-state enumerator: what its parts share.
**
**     main.c      options, units of work for several processes, the table at the end
**     explore.c   one unit: record it, go through its crash points, reopen the images
**     work_*.c    the workloads: what is done, and what a reopening must find
**     sim.c       the media: which images a power loss can leave     (sim.h)
**     record.c    the calls of libc and libpmem, performed and recorded
**     trace.c     the record, shared by the processes of a unit       (trace.h)
**
** A workload is an entry in a table: another store, another mode joins with one of its
** own (README.md tells how).
*/
#ifndef SPM_CRASH_H
#define SPM_CRASH_H

#include "trace.h"

#include <stdnoreturn.h>

/* Where the unit under way does its work; files in it have names of their own. */
typedef struct stage {
  char folder[256];
  uint64_t seed; /* of this unit alone */
  uint32_t unit; /* number in its workload: 0, 1, 2... without end */
  bool file_medium;
} stage;

/* What reopening after a crash came to. */
typedef struct verdict {
  bool failed;
  char why[900];
  uint64_t state; /* hash of the logical content, as promised */
  uint64_t bytes; /* hash of the files left after a clean close, counters aside */
} verdict;
void verdict_fail(verdict *, const char *format, ...) __attribute__((format(printf, 2, 3)));

typedef struct workload {
  const char *name, *meaning;
  uint32_t units;   /* that differ by their number; beyond them only the seed differs */
  uint32_t weight;  /* share of the images of a run, in relation to the others' */
  uint32_t unit_images; /* that one unit is good for */
  bool pmem, file;  /* media it makes sense on */
  /* Make the files it begins with, in the empty folder.  Not recorded. */
  void (*prepare)(const stage *);
  /* The work itself, recorded, in a process of its own, which it may fork and kill. */
  void (*run)(const stage *);
  /* Open what is in the folder as a user would, look, close cleanly, look again. */
  void (*reopen)(const stage *, verdict *);
  /* Open it, go on working with promises as in `run`, and close.  May be NULL. */
  void (*resume)(const stage *);
} workload;
extern const workload *const workloads[];

/* ---- for the workloads ---- */
/* A path in the folder; valid for some calls more. */
const char *stage_path(const stage *, const char *name);
/* The recorded work has met what must not be: ends the process, told as a failure. */
noreturn void live_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fork `work`; a child has a seed of its own. */
pid_t crew_start(const stage *, uint32_t number, void (*work)(const stage *, void *), void *argument);

/* ---- record.c ---- */
void record_medium(bool file);
void record_set_seed(uint64_t);
/* From now on this file cannot be made longer by writing; NULL: none. */
void record_full(const char *path);

/* ---- explore.c ---- */
typedef struct tally { /* shared by all processes, a workload and medium each */
  _Atomic uint64_t units, events, points, images, nested, redundant_flushes, failures;
} tally;
typedef struct budget {
  uint64_t images; /* of a unit; those of its nested crashes come on top */
  uint64_t nested_one_in;
  const char *keep; /* folder for what a failure leaves; NULL: nowhere */
} budget;
void explore_unit(const workload *, const stage *, const budget *, tally *);
/* How many failures there were, of all processes. */
void explore_init(void);
uint64_t explore_distinct(void);
/* What this process is doing, for whoever finds it dead. */
void explore_describe(char *to, size_t n);

/* ---- main.c ---- */
noreturn void crash_die(const char *what);

static inline uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
  return x ^ x >> 31;
}

#endif
