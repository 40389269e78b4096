/*
** media.c - see media.h.
*/
#define _GNU_SOURCE
#include "media.h"

#include "../vfs/store/region.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool installed, forced_file;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* ------------------------------------------------------------- the trace -- */

static media_operation *trace;
static size_t trace_count, trace_capacity;

static struct {
  bool armed;
  unsigned kinds;
  const char *files;
  unsigned long left;
  media_action action;
  int error;
  void (*call)(const media_operation *);
} plan = {.error = EIO};

static media_file file_of(const char *path) {
  size_t n = strlen(path);
  if (n > 6 && strcmp(path + n - 6, "-pmlog") == 0) return MEDIA_LOG;
  if (n > 6 && strcmp(path + n - 6, "-pmshm") == 0) return MEDIA_SHARED;
  bool data = n > 3 && (strcmp(path + n - 3, ".db") == 0 || strcmp(path + n - 3, ".kv") == 0);
  return data ? MEDIA_DATA : MEDIA_OTHER;
}

static media_file file_of_fd(int fd) {
  char link[64], path[4096];
  (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return MEDIA_OTHER;
  path[n] = 0;
  return file_of(path);
}

static bool matches(const media_operation *op, unsigned kinds, const char *files) {
  return (kinds & MEDIA_BIT(op->kind)) && (files == NULL || strchr(files, (char)op->file) != NULL);
}

static void note(const media_operation *op) {
  if (trace_count == trace_capacity) {
    trace_capacity = trace_capacity ? trace_capacity * 2 : 1024;
    trace = realloc(trace, trace_capacity * sizeof *trace);
    if (trace == NULL) abort();
  }
  trace[trace_count++] = *op;
}

/* 0: go on; else the errno with which the operation is to fail. */
static int pass(media_kind kind, media_file file, uint64_t offset, uint64_t length) {
  media_operation op = {kind, file, offset, length};
  pthread_mutex_lock(&mutex);
  note(&op);
  bool now = plan.armed && matches(&op, plan.kinds, plan.files) && --plan.left == 0;
  media_action action = plan.action;
  if (now && action == MEDIA_FAIL_ON) plan.left = 1;
  if (now && action != MEDIA_FAIL_ON) plan.armed = false;
  pthread_mutex_unlock(&mutex);
  if (!now) return 0;
  if (action == MEDIA_KILL) (void)raise(SIGKILL);
  if (action == MEDIA_STOP) (void)raise(SIGSTOP);
  if (action == MEDIA_CALL) plan.call(&op);
  return action == MEDIA_FAIL || action == MEDIA_FAIL_ON ? plan.error : 0;
}

void media_at(unsigned kinds, const char *files, unsigned long n, media_action action) {
  plan.kinds = kinds;
  plan.files = files;
  plan.left = n;
  plan.action = action;
  plan.armed = true;
}

void media_errno(int error) { plan.error = error; }
void media_call(void (*function)(const media_operation *)) { plan.call = function; }
void media_calm(void) { plan.armed = false; }

const media_operation *media_operations(size_t *count) {
  *count = trace_count;
  return trace;
}

unsigned long media_count(unsigned kinds, const char *files) {
  unsigned long count = 0;
  for (size_t i = 0; i < trace_count; i++) count += matches(&trace[i], kinds, files);
  return count;
}

void media_forget(void) { trace_count = 0; }

/* ------------------------------------------------------------ power loss -- */

/* What is on media of one file, and what is on its way there. */
typedef struct tracked {
  char path[512];
  uint8_t *durable;
  uint64_t size;
} tracked;

typedef struct pending {
  struct pending *next;
  tracked *of;
  uint64_t offset, length;
  uint8_t bytes[];
} pending;

static tracked files[2];
static unsigned file_count;
static pending *oldest_pending, **newest_pending = &oldest_pending;

static tracked *tracked_of(const char *path) {
  for (unsigned i = 0; i < file_count; i++)
    if (strcmp(files[i].path, path) == 0) return &files[i];
  return NULL;
}

static void extend(tracked *t, uint64_t size) {
  if (size <= t->size) return;
  t->durable = realloc(t->durable, size);
  if (t->durable == NULL) abort();
  memset(t->durable + t->size, 0, size - t->size);
  t->size = size;
}

static void track_file(const char *path, const char *suffix) {
  tracked *t = &files[file_count++];
  *t = (tracked){.size = 0};
  (void)snprintf(t->path, sizeof t->path, "%s%s", path, suffix);
  int fd = open(t->path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) return;
  extend(t, (uint64_t)status.st_size);
  if (pread(fd, t->durable, t->size, 0) != (ssize_t)t->size) abort();
  close(fd);
}

void media_track(const char *path) {
  file_count = 0;
  track_file(path, "");
  track_file(path, "-pmlog");
}

static void on_its_way(spm_region *r, uint64_t offset, const void *bytes, uint64_t length) {
  tracked *t = file_count > 0 ? tracked_of(r->path) : NULL;
  if (t == NULL) return;
  pending *p = malloc(sizeof *p + length);
  if (p == NULL) abort();
  *p = (pending){.of = t, .offset = offset, .length = length};
  memcpy(p->bytes, bytes, length);
  *newest_pending = p;
  newest_pending = &p->next;
}

/* A drain orders the whole thread's flushes, an fdatasync those of its file. */
static void arrive(const tracked *only) {
  pending **link = &oldest_pending;
  while (*link != NULL) {
    pending *p = *link;
    if (only != NULL && p->of != only) {
      link = &p->next;
      continue;
    }
    extend(p->of, p->offset + p->length);
    memcpy(p->of->durable + p->offset, p->bytes, p->length);
    *link = p->next;
    free(p);
  }
  newest_pending = link;
}

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

static void write_image(const tracked *t, const char *target, const char *suffix, uint64_t length) {
  char path[600];
  (void)snprintf(path, sizeof path, "%s%s", target, suffix);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  uint64_t n = t->size < length ? t->size : length;
  if (fd < 0 || (ssize_t)n != syscall(SYS_pwrite64, fd, t->durable, n, 0)) abort();
  if (syscall(SYS_ftruncate, fd, length) != 0) abort();
  close(fd);
}

static uint64_t length_of(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/* The lines of what is pending that happened to get there, put into a copy. */
static void throw_coins(tracked *copy, const tracked *t, media_loss loss, uint64_t *seed) {
  *copy = *t;
  copy->durable = malloc(t->size + 1);
  if (copy->durable == NULL) abort();
  if (t->size > 0) memcpy(copy->durable, t->durable, t->size);
  for (const pending *p = oldest_pending; loss != MEDIA_LOSE_ALL && p != NULL; p = p->next) {
    if (p->of != t) continue;
    extend(copy, p->offset + p->length);
    for (uint64_t at = 0; at < p->length;) {
      uint64_t n = 64 - (p->offset + at) % 64;
      if (n > p->length - at) n = p->length - at;
      if (loss == MEDIA_LOSE_NONE || (next_random(seed) & 1))
        memcpy(copy->durable + p->offset + at, p->bytes + at, n);
      at += n;
    }
  }
}

void media_power_loss(const char *target, media_loss loss, uint64_t seed) {
  static const char *const suffix[2] = {"", "-pmlog"};
  uint64_t state = seed * 2654435769u + 88172645463325252u;
  for (unsigned i = 0; i < 2; i++) {
    tracked copy;
    throw_coins(&copy, &files[i], loss, &state);
    write_image(&copy, target, suffix[i], length_of(files[i].path));
    free(copy.durable);
  }
}

/* ----------------------------------------------------------- the tables -- */

static spm_media real_pmem, real_file;

static int watched_append(const spm_media *real, spm_region *r, uint64_t offset, const void *p, size_t n) {
  if (pass(MEDIA_APPEND, file_of(r->path), offset, n) != 0) return SQLITE_IOERR_WRITE;
  on_its_way(r, offset, p, n);
  return real->append(r, offset, p, n);
}

static int watched_store(const spm_media *real, spm_region *r, uint64_t offset, const void *p, size_t n) {
  if (pass(MEDIA_STORE, file_of(r->path), offset, n) != 0) return SQLITE_IOERR_WRITE;
  if (!real->persistent) on_its_way(r, offset, p, n);
  return real->store(r, offset, p, n);
}

static void watched_flush(const spm_media *real, spm_region *r, uint64_t offset, size_t n) {
  (void)pass(MEDIA_FLUSH, file_of(r->path), offset, n);
  uint64_t start = offset & ~UINT64_C(63), end = (offset + n + 63) & ~UINT64_C(63);
  if (real->persistent) on_its_way(r, start, r->base + start, end - start);
  real->flush(r, offset, n);
}

static int watched_sync(const spm_media *real, spm_region *r) {
  if (pass(MEDIA_SYNC, file_of(r->path), 0, 0) != 0) return SQLITE_IOERR_FSYNC;
  int rc = real->sync(r);
  if (rc != SQLITE_OK || file_count == 0) return rc;
  const tracked *t = tracked_of(r->path);
  if (real->persistent) arrive(NULL);
  else if (t != NULL) arrive(t);
  return rc;
}

#define WATCHED(real)                                                                          \
  static int real##_append(spm_region *r, uint64_t at, const void *p, size_t n) {              \
    return watched_append(&real, r, at, p, n);                                                 \
  }                                                                                            \
  static int real##_store(spm_region *r, uint64_t at, const void *p, size_t n) {               \
    return watched_store(&real, r, at, p, n);                                                  \
  }                                                                                            \
  static void real##_flush(spm_region *r, uint64_t at, size_t n) { watched_flush(&real, r, at, n); } \
  static int real##_sync(spm_region *r) { return watched_sync(&real, r); }                     \
  static const spm_media real##_watched = {"", false, real##_append, real##_store, real##_flush, real##_sync};

WATCHED(real_pmem)
WATCHED(real_file)

/* The tables are constants, in pages that the loader has made read-only. */
static void replace(const spm_media *table, spm_media watched) {
  watched.name = table->name;
  watched.persistent = table->persistent;
  uintptr_t page = (uintptr_t)table & ~(uintptr_t)4095;
  if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE) != 0) abort();
  memcpy((void *)(uintptr_t)table, &watched, sizeof watched);
}

void media_install(void) {
  if (installed) return;
  installed = true;
  real_pmem = spm_media_pmem;
  real_file = spm_media_file;
  replace(&spm_media_pmem, real_pmem_watched);
  replace(&spm_media_pmem_forced, real_pmem_watched);
  replace(&spm_media_file, real_file_watched);
}

void media_force_file(void) { forced_file = true; }

/* --------------------------------------------------------- libc, libpmem -- */

static bool refused(media_kind kind, int fd, uint64_t offset, uint64_t length) {
  int error = installed ? pass(kind, file_of_fd(fd), offset, length) : 0;
  if (error != 0) errno = error;
  return error != 0;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t offset) {
  return refused(MEDIA_PWRITE, fd, (uint64_t)offset, n) ? -1 : syscall(SYS_pwrite64, fd, p, n, offset);
}

int fdatasync(int fd) { return refused(MEDIA_FDATASYNC, fd, 0, 0) ? -1 : (int)syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return refused(MEDIA_FSYNC, fd, 0, 0) ? -1 : (int)syscall(SYS_fsync, fd); }

int ftruncate(int fd, off_t size) {
  return refused(MEDIA_TRUNCATE, fd, (uint64_t)size, 0) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  if (refused(MEDIA_ALLOCATE, fd, (uint64_t)offset, (uint64_t)length)) return -1;
  return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
  return fallocate(fd, 0, offset, length) == 0 ? 0 : errno;
}

int unlink(const char *path) {
  int error = installed ? pass(MEDIA_UNLINK, file_of(path), 0, 0) : 0;
  if (error == 0) return (int)syscall(SYS_unlink, path);
  errno = error;
  return -1;
}

static void *next_of(const char *name) {
  void *function = dlsym(RTLD_NEXT, name);
  if (function == NULL) abort();
  return function;
}

void *pmem_map_file(const char *path, size_t length, int flags, mode_t mode, size_t *mapped, int *is_pmem) {
  static void *(*real)(const char *, size_t, int, mode_t, size_t *, int *);
  if (forced_file) return NULL;
  if (real == NULL) *(void **)&real = next_of("pmem_map_file");
  return real(path, length, flags, mode, mapped, is_pmem);
}

static _Atomic unsigned long drains;
unsigned long media_drains(void) { return drains; }

void pmem_drain(void) {
  static void (*real)(void);
  drains++;
  if (real == NULL) *(void **)&real = next_of("pmem_drain");
  real();
}

static void (*in_qsort)(void);
void media_in_qsort(void (*function)(void)) { in_qsort = function; }

void qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *)) {
  static void (*real)(void *, size_t, size_t, int (*)(const void *, const void *));
  if (real == NULL) *(void **)&real = next_of("qsort");
  void (*call)(void) = in_qsort;
  in_qsort = NULL;
  if (call != NULL) call();
  real(base, count, size, compare);
}
