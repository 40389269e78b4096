/*
** trace.c - see trace.h.
*/
#define _GNU_SOURCE
#include "trace.h"

#include "crash.h"

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRACE_BYTES (UINT64_C(1) << 30) /* of address space */
#define FILES_MAX 256u

struct trace {
  _Atomic uint32_t lock;
  _Atomic uint32_t actors;
  uint32_t file_count;
  uint64_t files[FILES_MAX];
  uint64_t used; /* bytes of events */
  uint64_t room[]; /* events, 8-byte aligned */
};

static trace *current;
static char folder[PATH_MAX];
static size_t folder_length;
static struct stat folder_status;

static _Thread_local uint32_t actor_id;
static _Thread_local const trace *actor_of;
static pid_t actor_process;

/* ------------------------------------------------------------ the buffer -- */

trace *trace_new(void) {
  trace *t = mmap(NULL, TRACE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (t == MAP_FAILED) crash_die("mapping a trace");
  return t;
}

void trace_reset(trace *t) {
  if (t->used > (UINT64_C(16) << 20)) (void)madvise(t->room, t->used & ~UINT64_C(4095), MADV_REMOVE);
  t->used = 0;
  t->file_count = 0;
  atomic_store(&t->lock, 0);
  atomic_store(&t->actors, 0);
}

static uint64_t span(uint64_t bytes) { return sizeof(event) + ((bytes + 7) & ~UINT64_C(7)); }

const event *trace_first(const trace *t) { return t->used > 0 ? (const event *)t->room : NULL; }

const event *trace_next(const trace *t, const event *e) {
  const uint8_t *next = (const uint8_t *)e + span(e->bytes);
  return next < (const uint8_t *)t->room + t->used ? (const event *)(const void *)next : NULL;
}

const char *event_name(const event *e) {
  static const char *const names[EV_KINDS] = {"store",  "nt",     "flush", "drain",  "write",   "sync", "size",
                                              "punch", "create", "unlink", "folder", "promise", "scope"};
  return e->kind < EV_KINDS ? names[e->kind] : "?";
}

/* ------------------------------------------------------------- recording -- */

void trace_open(trace *t, const char *path) {
  (void)snprintf(folder, sizeof folder, "%s/", path);
  folder_length = strlen(folder);
  if (stat(path, &folder_status) != 0) crash_die("stat of the folder");
  current = t;
}

void trace_close(void) { current = NULL; }
bool trace_recording(void) { return current != NULL; }

static unsigned long events, at_event;
static void (*at_function)(void);

void trace_at(unsigned long n, void (*function)(void)) {
  at_event = events + n;
  at_function = function;
}
unsigned long trace_count(void) { return events; }

static unsigned long syncs, at_sync;
static void (*sync_function)(void);

void trace_at_sync(unsigned long n, void (*function)(void)) {
  at_sync = syncs + n;
  sync_function = function;
}

void trace_before_sync(void) {
  if (current == NULL || ++syncs != at_sync || sync_function == NULL) return;
  void (*function)(void) = sync_function;
  sync_function = NULL;
  function();
}

bool trace_lock(void) {
  if (current == NULL) return false;
  if (++events == at_event && at_function != NULL) {
    void (*function)(void) = at_function;
    at_function = NULL;
    function();
  }
  while (atomic_exchange_explicit(&current->lock, 1, memory_order_acquire) != 0) sched_yield();
  return true;
}

void trace_unlock(void) { atomic_store_explicit(&current->lock, 0, memory_order_release); }

/* A new number for every thread, and for the same thread in a child. */
static uint32_t actor(void) {
  if (actor_of != current || actor_process != getpid()) {
    actor_of = current;
    actor_process = getpid();
    actor_id = atomic_fetch_add(&current->actors, 1);
  }
  return actor_id;
}

void trace_append(event_kind kind, uint64_t file, uint64_t offset, uint64_t length, const void *payload,
                  size_t bytes) {
  trace *t = current;
  if (sizeof *t + t->used + span(bytes) > TRACE_BYTES) crash_die("the trace is full");
  event *e = (event *)(void *)((uint8_t *)t->room + t->used);
  *e = (event){kind, actor(), file, offset, length, bytes};
  if (bytes > 0) memcpy(e + 1, payload, bytes);
  t->used += span(bytes);
}

uint64_t trace_file(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0 || status.st_dev != folder_status.st_dev) return 0;
  for (uint32_t i = 0; i < current->file_count; i++)
    if (current->files[i] == status.st_ino) return status.st_ino;
  return 0;
}

bool trace_is_folder(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && status.st_dev == folder_status.st_dev && status.st_ino == folder_status.st_ino;
}

static bool ends_in(const char *name, const char *suffix) {
  size_t n = strlen(name), m = strlen(suffix);
  return n >= m && strcmp(name + n - m, suffix) == 0;
}

const char *trace_name(const char *path) {
  if (strncmp(path, folder, folder_length) != 0) return NULL;
  const char *name = path + folder_length;
  return ends_in(name, "-pmshm") || ends_in(name, "-shm") ? NULL : name;
}

void trace_add_file(uint64_t file) {
  for (uint32_t i = 0; i < current->file_count; i++)
    if (current->files[i] == file) return;
  if (current->file_count == FILES_MAX) crash_die("too many files in one trace");
  current->files[current->file_count++] = file;
}

void promise(promise_phase phase, uint64_t state) {
  if (!trace_lock()) return;
  trace_append(EV_PROMISE, phase, state, 0, NULL, 0);
  trace_unlock();
}

void scope(bool begin) {
  if (!trace_lock()) return;
  trace_append(EV_SCOPE, begin, 0, 0, NULL, 0);
  trace_unlock();
}

/* ---------------------------------------------------------------- chance -- */

static uint64_t chance_state = 1;

void chance_seed(uint64_t seed) { chance_state = mix(seed) | 1; }

uint64_t chance(uint64_t below) {
  chance_state ^= chance_state << 13;
  chance_state ^= chance_state >> 7;
  chance_state ^= chance_state << 17;
  return (chance_state * UINT64_C(0x2545F4914F6CDD1D) >> 16) % below;
}
