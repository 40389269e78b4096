/*
** explore.c - one unit of work: recorded, cut off at its events, reopened.
**
** The work runs once, in a child.  Its trace is then replayed event by event; at crash
** points images of the media are built (sim.c), written to the emptied folder, and
** opened as a user would.  What is found must be a state that the trace had promised by
** then.  Points of the greatest choice are those just before a fence, for until then
** nothing pending has become certain; every event between is a point as well, by the
** throw of dice, since the promises made and the order of what came before differ.
**
** Of some images the reopening is recorded in its turn, and cut off (*nested*).  What is
** found after that must be the state that had been found without the second crash, and
** the files' bytes the same.  Or work goes on after the recovery, and is cut off.
**
** An image counts once, by the hash of its whole content, for all processes together.
*/
#define _GNU_SOURCE
#include "crash.h"
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISTINCT_SLOTS (UINT64_C(1) << 25)
#define NESTED_IMAGES 6u /* of each reopening that is recorded */

/* ------------------------------------------------------- distinct images -- */

typedef struct distinct {
  _Atomic uint64_t count;
  _Atomic uint64_t slot[DISTINCT_SLOTS];
} distinct;
static distinct *seen;

void explore_init(void) {
  seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (seen == MAP_FAILED) crash_die("mapping the set of images");
}

uint64_t explore_distinct(void) { return atomic_load(&seen->count); }

/* When the table is three quarters full the oldest do not matter any more: begin again. */
static bool first_time(uint64_t hash) {
  if (hash == 0) hash = 1;
  for (uint64_t i = hash % DISTINCT_SLOTS;; i = (i + 1) % DISTINCT_SLOTS) {
    uint64_t there = 0;
    if (atomic_compare_exchange_strong(&seen->slot[i], &there, hash)) break;
    if (there == hash) return false;
  }
  uint64_t count = atomic_fetch_add(&seen->count, 1);
  if (count > DISTINCT_SLOTS / 4 * 3) crash_die("the set of images is full");
  return true;
}

/* -------------------------------------------------------------- failures -- */

/* Where this process is. */
static struct {
  const workload *work;
  const stage *at;
  const char *keep;
  tally *sum;
  unsigned long event;
  const char *event_kind;
  uint64_t image;
  const char *depth;
  unsigned long inner_event;
  uint64_t images_of_unit;
} here;

void explore_describe(char *to, size_t n) {
  if (here.work == NULL) {
    (void)snprintf(to, n, "nothing yet");
    return;
  }
  (void)snprintf(to, n, "--workload %s --medium %s --unit %u --unit-seed %llu, --images %llu, event %lu (%s), image %016llx%s",
                 here.work->name, here.at->file_medium ? "file" : "pmem", here.at->unit,
                 (unsigned long long)here.at->seed, (unsigned long long)here.images_of_unit, here.event, here.event_kind,
                 (unsigned long long)here.image, here.depth);
  size_t used = strlen(to);
  if (here.depth[0] != 0 && used < n) (void)snprintf(to + used, n - used, " at its event %lu", here.inner_event);
}

void verdict_fail(verdict *v, const char *format, ...) {
  va_list arguments;
  if (v->failed) return;
  v->failed = true;
  va_start(arguments, format);
  (void)vsnprintf(v->why, sizeof v->why, format, arguments);
  va_end(arguments);
}

static void keep_trace(const trace *t, const char *folder) {
  char path[600];
  (void)snprintf(path, sizeof path, "%s/trace.txt", folder);
  FILE *out = fopen(path, "w");
  if (out == NULL) return;
  unsigned long n = 0;
  for (const event *e = trace_first(t); e != NULL; e = trace_next(t, e)) {
    bool named = e->kind == EV_CREATE || e->kind == EV_UNLINK;
    (void)fprintf(out, "%6lu actor %u %-7s file %llu at %llu length %llu bytes %llu %s\n", n++, e->actor, event_name(e),
                  (unsigned long long)e->file, (unsigned long long)e->offset, (unsigned long long)e->length,
                  (unsigned long long)e->bytes, named ? (const char *)event_payload(e) : "");
  }
  (void)fclose(out);
}

/* The image as it was before anybody opened it, and the events up to its end. */
static void report(sim *s, const trace *t, const char *why) {
  char where[400], folder[500];
  explore_describe(where, sizeof where);
  uint64_t number = atomic_fetch_add(&here.sum->failures, 1);
  (void)fprintf(stderr, "FAILURE: %s\n  %s\n", why, where);
  if (here.keep == NULL || number >= 5) return;
  (void)mkdir(here.keep, 0755);
  (void)snprintf(folder, sizeof folder, "%s/%s-%s-%u-%016llx", here.keep, here.work->name,
                 here.at->file_medium ? "file" : "pmem", here.at->unit, (unsigned long long)here.image);
  if (mkdir(folder, 0755) != 0 && errno != EEXIST) return;
  folder_clear(folder);
  if (s != NULL) sim_write_image(s, folder);
  keep_trace(t, folder);
  (void)fprintf(stderr, "  kept in %s\n", folder);
}

/* ------------------------------------------------------------- recording -- */

/* What a child of the recording has to say, it says here. */
static char *last_words;

noreturn void live_failure(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (last_words[0] == 0) (void)vsnprintf(last_words, 1000, format, arguments); /* the first to fail knows why */
  va_end(arguments);
  _exit(3);
}

static void new_chances(uint64_t seed) {
  chance_seed(seed);
  record_set_seed(seed);
  (void)sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(mix(seed) & 0x7fffffff) | 1, NULL);
}

pid_t crew_start(const stage *at, uint32_t number, void (*work)(const stage *, void *), void *argument) {
  pid_t pid = fork();
  if (pid < 0) crash_die("fork");
  if (pid > 0) return pid;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  new_chances(at->seed + (number + 1) * UINT64_C(7919));
  work(at, argument);
  _exit(0);
}

/* `number` as in crew_start(): two processes of one history must not choose the same salts. */
static bool record(const stage *at, trace *t, uint32_t number, void (*work)(const stage *, void *), void *argument) {
  int status;
  last_words[0] = 0;
  pid_t pid = crew_start(at, number, work, argument);
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) crash_die("waiting for the recorded work");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  char why[1100];
  (void)snprintf(why, sizeof why, "the work itself went wrong (status %x) %s", status, last_words);
  report(NULL, t, why);
  return false;
}

/* -------------------------------------------------------------- an image -- */

/* A power loss leaves of shared memory what it likes. */
static void leave_junk(const char *folder) {
  char path[300];
  if (chance(4) != 0) return;
  (void)snprintf(path, sizeof path, "%s/x.db-pmshm", folder);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || pwrite(fd, path, sizeof path, 0) < 0) crash_die("leaving junk");
  close(fd);
}

static void reopen_image(sim *s, verdict *v) {
  *v = (verdict){.failed = false};
  folder_clear(here.at->folder);
  sim_write_image(s, here.at->folder);
  leave_junk(here.at->folder);
  alarm(60);
  here.work->reopen(here.at, v);
  alarm(0);
}

static bool judge(sim *s, const trace *t, const verdict *v) {
  char why[1200], allowed[300];
  if (v->failed) {
    report(s, t, v->why);
    return false;
  }
  if (sim_allows(s, v->state)) return true;
  sim_describe_allowed(s, allowed, sizeof allowed);
  (void)snprintf(why, sizeof why, "found the state %016llx, promised was %s", (unsigned long long)v->state, allowed);
  report(s, t, why);
  return false;
}

/* A kind of image that is worth the most where there is no time for all of them. */
static void any_outcome(unsigned units, uint64_t turn, outcome *o, uint64_t *choice) {
  static const outcome wheel[] = {OUTCOME_NONE, OUTCOME_ALL, OUTCOME_RANDOM, OUTCOME_ONE, OUTCOME_BUT_ONE, OUTCOME_RANDOM};
  *o = turn < 2 ? wheel[turn] : wheel[2 + chance(4)];
  *choice = units > 0 ? chance(units) : 0;
  if (turn >= 2 && units <= 10 && chance(2) == 0) {
    *o = OUTCOME_SUBSET;
    *choice = chance(UINT64_C(1) << units);
  }
}

/* ---------------------------------------------------------------- nested -- */

static trace *outer_trace, *inner_trace;
static sim *outer, *inner, *checked;

static bool is_fence(const event *e) {
  return e->kind == EV_DRAIN || e->kind == EV_SYNC || e->kind == EV_FOLDER || e->kind == EV_PROMISE ||
         e->kind == EV_SCOPE;
}

static void run_reopen(const stage *at, void *argument) {
  verdict *v = argument;
  *v = (verdict){.failed = false};
  here.work->reopen(at, v);
}

static void run_resume(const stage *at, void *argument) {
  const verdict *v = argument;
  promise(PROMISE_KEPT, v->state);
  here.work->resume(at);
}

/* Cut the recorded reopening, or the work that followed it, off at some events.  `same`:
** what the uninterrupted one came to, as long as nothing new had been started. */
static void cut_inner(const verdict *same) {
  unsigned long fences = 0, seen_fences = 0;
  for (const event *e = trace_first(inner_trace); e != NULL; e = trace_next(inner_trace, e)) fences += is_fence(e);
  bool started = false;
  const event *first = trace_first(inner_trace); /* the promise of nest() */
  sim_apply(inner, first);
  here.inner_event = 1;
  for (const event *e = trace_next(inner_trace, first); e != NULL; e = trace_next(inner_trace, e)) {
    bool wanted = is_fence(e) ? chance(fences) < NESTED_IMAGES || seen_fences == fences - 1 : chance(fences * 8) == 0;
    seen_fences += is_fence(e);
    for (uint64_t turn = chance(3); wanted && turn < 3; turn++) {
      outcome o;
      uint64_t choice;
      verdict v;
      any_outcome(sim_units(inner), turn, &o, &choice);
      here.image = sim_image(inner, o, choice);
      if (!first_time(here.image)) continue;
      atomic_fetch_add(&here.sum->nested, 1);
      reopen_image(inner, &v);
      if (!judge(inner, inner_trace, &v)) return;
      if (started || v.bytes == same->bytes) continue;
      report(inner, inner_trace, "recovered again, the files differ from what one recovery made of them");
      return;
    }
    started |= e->kind == EV_PROMISE && e->file != PROMISE_KEPT;
    sim_apply(inner, e);
    here.inner_event++;
  }
}

static void nest(const verdict *found) {
  static verdict *again; /* shared with the child */
  if (again == NULL)
    again = mmap(NULL, sizeof *again, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (again == MAP_FAILED) crash_die("mapping a verdict");
  bool resumes = here.work->resume != NULL && chance(2) == 0;
  here.depth = resumes ? ", going on after it" : ", nested";
  folder_clear(here.at->folder);
  sim_write_image(outer, here.at->folder);
  trace_reset(inner_trace);
  trace_open(inner_trace, here.at->folder);
  sim_load(inner, here.at->folder);
  *again = *found;
  promise(PROMISE_KEPT, found->state);
  bool ran = record(here.at, inner_trace, 1000 + (uint32_t)(here.image >> 36), resumes ? run_resume : run_reopen, again);
  trace_close();
  if (ran && !resumes && (again->failed || again->state != found->state || again->bytes != found->bytes)) {
    report(outer, inner_trace, again->failed ? again->why : "the same image, opened twice, is not recovered to the same");
    ran = false;
  }
  if (ran) cut_inner(found);
  here.depth = "";
}

/* ---------------------------------------------------------------- a unit -- */

static bool examine(outcome o, uint64_t choice, const budget *b) {
  verdict v;
  here.image = sim_image(outer, o, choice);
  if (!first_time(here.image)) return false;
  atomic_fetch_add(&here.sum->images, 1);
  reopen_image(outer, &v);
  if (judge(outer, outer_trace, &v) && chance(b->nested_one_in) == 0) nest(&v);
  return true;
}

/* All there are if the quota lets; else by the throw of dice. */
static void examine_point(uint64_t quota, const budget *b) {
  unsigned units = sim_units(outer);
  atomic_fetch_add(&here.sum->points, 1);
  if (units <= 10 && quota >> units > 0)
    for (uint64_t subset = 0; subset >> units == 0; subset++) quota -= examine(OUTCOME_SUBSET, subset, b);
  else if (quota >= 2 + 2 * (uint64_t)units)
    for (unsigned i = 0; i < units; i++)
      quota -= (uint64_t)examine(OUTCOME_ONE, i, b) + (uint64_t)examine(OUTCOME_BUT_ONE, i, b);
  for (uint64_t turn = 0, tries = 3 * quota + 2; quota > 0 && turn < tries; turn++) {
    outcome o;
    uint64_t choice;
    any_outcome(units, turn, &o, &choice);
    quota -= examine(o, choice, b);
  }
}

static void explore_trace(const budget *b) {
  unsigned long fences = 0, others = 0;
  bool in = false;
  for (const event *e = trace_first(outer_trace); e != NULL; e = trace_next(outer_trace, e)) {
    if (in) *(is_fence(e) ? &fences : &others) += 1;
    if (e->kind == EV_SCOPE) in = e->file != 0;
  }
  /* Four parts in five of the images before fences, the rest anywhere. */
  uint64_t a_fence = fences ? b->images * 4 / 5 / fences : 0;
  uint64_t failed = atomic_load(&here.sum->failures);
  here.event = 0;
  for (const event *e = trace_first(outer_trace); e != NULL; e = trace_next(outer_trace, e)) {
    here.event_kind = event_name(e);
    uint64_t quota = is_fence(e) ? a_fence + (chance(fences + 1) < b->images * 4 / 5 % (fences + 1))
                                 : chance(others + 1) < b->images / 5 + 1;
    if (sim_in_scope(outer) && quota > 0) examine_point(quota, b);
    if (atomic_load(&here.sum->failures) > failed) return; /* one a unit tells enough */
    sim_apply(outer, e);
    here.event++;
  }
  here.event_kind = "the end";
  if (sim_in_scope(outer)) examine_point(a_fence + 1, b);
}

static void count_trace(void) {
  unsigned long n = 0;
  for (const event *e = trace_first(outer_trace); e != NULL; e = trace_next(outer_trace, e)) {
    sim_apply(checked, e);
    n++;
  }
  atomic_fetch_add(&here.sum->events, n);
  atomic_fetch_add(&here.sum->redundant_flushes, sim_redundant_flushes(checked));
}

static void run_work(const stage *at, void *argument) {
  (void)argument;
  here.work->run(at);
}

static void init_process(void) {
  if (outer != NULL) return;
  outer_trace = trace_new();
  inner_trace = trace_new();
  outer = sim_new();
  inner = sim_new();
  checked = sim_new();
  last_words = mmap(NULL, 1024, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (last_words == MAP_FAILED) crash_die("mapping last words");
}

void explore_unit(const workload *w, const stage *at, const budget *b, tally *sum) {
  init_process();
  here.work = w, here.at = at, here.keep = b->keep, here.sum = sum;
  here.images_of_unit = b->images, here.event = 0, here.event_kind = "the work", here.image = 0, here.depth = "";
  record_medium(at->file_medium);
  folder_clear(at->folder);
  new_chances(at->seed);
  w->prepare(at);
  trace_reset(outer_trace);
  trace_open(outer_trace, at->folder);
  sim_load(outer, at->folder);
  sim_load(checked, at->folder);
  bool ran = record(at, outer_trace, 0, run_work, NULL);
  trace_close();
  if (ran) count_trace();
  if (ran && !sim_verify(checked, at->folder))
    report(NULL, outer_trace, "the trace does not tell what the files hold: something was written unseen");
  else if (ran)
    explore_trace(b);
  atomic_fetch_add(&sum->units, 1);
  folder_clear(at->folder);
}
