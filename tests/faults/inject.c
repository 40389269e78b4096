/*
** inject.c - see inject.h.  Wrappers in the order of the table there.
*/
#define _GNU_SOURCE
#include "inject.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define ERRORS_MAX 5u

static const struct {
  const char *name;
  fault_series series;
  int errors[ERRORS_MAX];
} calls[] = {
#define ROW(name, series, ...) {#name, FAULT_##series, {__VA_ARGS__}},
    FAULT_CALLS(ROW)
#undef ROW
};

static struct {
  bool armed, held, fired, hit[FAULT_CALL_COUNT];
  fault plan;
  _Atomic unsigned long seen, times; /* a flusher's calls count as well */
  fault_call where;
  int what;
} state;

static long live;
static struct {
  fault_call call;
  unsigned long left; /* 0: not at all */
} death;
static uint64_t flown_ns; /* time that sleeping did not take */

const char *fault_call_name(fault_call call) { return calls[call].name; }
fault_series fault_call_series(fault_call call) { return calls[call].series; }
int fault_error(fault_call call, unsigned variant) { return variant < ERRORS_MAX ? calls[call].errors[variant] : 0; }
const char *fault_error_name(int error) {
  return error == FAULT_SHORT ? "short transfer" : error == 0 ? "nothing" : strerrorname_np(error);
}

void fault_arm(const fault *plan) {
  memset(&state, 0, sizeof state);
  state.plan = *plan;
  state.armed = true;
}
void fault_disarm(void) { state.armed = false; }
void fault_hold(bool held) { state.held = held; }
bool fault_fired(void) { return state.fired; }
fault_call fault_where(void) { return state.where; }
int fault_what(void) { return state.what; }
unsigned long fault_times(void) { return state.times; }
bool fault_hit(fault_call call) { return state.hit[call]; }
long fault_live(void) { return live; }
void fault_die_at(fault_call call, unsigned long n) {
  death.call = call;
  death.left = n;
}

static void mortal(fault_call call) {
  if (death.left > 0 && call == death.call && --death.left == 0) (void)raise(SIGKILL);
}

static bool knows(fault_call call, int error) {
  for (unsigned i = 0; i < ERRORS_MAX && calls[call].errors[i] != 0; i++)
    if (calls[call].errors[i] == error) return true;
  return false;
}

/* Fail now?  The error then, in errno as well. */
static int due(fault_call call) {
  mortal(call);
  if (!state.armed || state.held) return 0;
  int error = 0;
  if (state.fired) {
    if (state.plan.for_good && knows(call, state.what)) error = state.what;
  } else if (calls[call].series == state.plan.series && ++state.seen == state.plan.at) {
    error = fault_error(call, state.plan.variant);
    state.fired = error != 0;
    state.where = call;
    state.what = error;
  }
  if (error == 0) return 0;
  state.times++;
  state.hit[call] = true;
  errno = error;
  return error;
}

/* ------------------------------------------------------------ allocations -- */

#define WRAPPED(type, name, ...) \
  type __real_##name(__VA_ARGS__); \
  type __wrap_##name(__VA_ARGS__); \
  type __wrap_##name(__VA_ARGS__)

static void *counted(void *p) {
  live += p != NULL;
  return p;
}

WRAPPED(void *, malloc, size_t n) { return due(F_malloc) ? NULL : counted(__real_malloc(n)); }
WRAPPED(void *, calloc, size_t n, size_t size) { return due(F_calloc) ? NULL : counted(__real_calloc(n, size)); }
WRAPPED(void *, realloc, void *p, size_t n) {
  if (due(F_realloc)) return NULL;
  void *moved = __real_realloc(p, n);
  live += p == NULL && moved != NULL;
  return moved;
}
WRAPPED(void *, aligned_alloc, size_t alignment, size_t n) {
  return due(F_aligned_alloc) ? NULL : counted(__real_aligned_alloc(alignment, n));
}
WRAPPED(char *, strdup, const char *text) { return due(F_strdup) ? NULL : counted(__real_strdup(text)); }
WRAPPED(char *, strndup, const char *text, size_t n) {
  return due(F_strndup) ? NULL : counted(__real_strndup(text, n));
}
int __wrap_asprintf(char **, const char *, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **text, const char *format, ...) {
  if (due(F_asprintf)) return -1;
  va_list arguments;
  va_start(arguments, format);
  int n = vasprintf(text, format, arguments);
  va_end(arguments);
  live += n >= 0;
  return n;
}
WRAPPED(char *, realpath, const char *path, char *room) {
  char *real = due(F_realpath) ? NULL : __real_realpath(path, room);
  live += real != NULL && room == NULL;
  return real;
}
WRAPPED(void, free, void *p) {
  live -= p != NULL;
  __real_free(p);
}

/* ------------------------------------------------------------------ files -- */

int __real_open(const char *, int, ...);
int __wrap_open(const char *, int, ...);
int __wrap_open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return due(flags & O_CREAT ? F_create : F_open) ? -1 : __real_open(path, flags, mode);
}

/* What Linux does: the descriptor is gone whatever close() says. */
WRAPPED(int, close, int fd) {
  int error = due(F_close), result = __real_close(fd);
  errno = error ? error : errno;
  return error ? -1 : result;
}
WRAPPED(int, stat, const char *path, struct stat *to) { return due(F_stat) ? -1 : __real_stat(path, to); }
WRAPPED(int, fstat, int fd, struct stat *to) { return due(F_fstat) ? -1 : __real_fstat(fd, to); }
WRAPPED(off_t, lseek, int fd, off_t offset, int whence) {
  return due(F_lseek) ? -1 : __real_lseek(fd, offset, whence);
}
WRAPPED(int, fstatfs, int fd, struct statfs *to) { return due(F_fstatfs) ? -1 : __real_fstatfs(fd, to); }
WRAPPED(int, access, const char *path, int mode) { return due(F_access) ? -1 : __real_access(path, mode); }

WRAPPED(ssize_t, pread, int fd, void *to, size_t n, off_t offset) {
  int error = due(F_pread);
  if (error == FAULT_SHORT) n = (n + 1) / 2;
  return error && error != FAULT_SHORT ? -1 : __real_pread(fd, to, n, offset);
}
WRAPPED(ssize_t, pwrite, int fd, const void *from, size_t n, off_t offset) {
  int error = due(F_pwrite);
  mortal(FAULT_WRITE);
  if (error == FAULT_SHORT) n = (n + 1) / 2;
  return error && error != FAULT_SHORT ? -1 : __real_pwrite(fd, from, n, offset);
}
WRAPPED(int, fsync, int fd) {
  mortal(FAULT_WRITE);
  return due(F_fsync) ? -1 : __real_fsync(fd);
}
WRAPPED(int, fdatasync, int fd) {
  mortal(FAULT_WRITE);
  return due(F_fdatasync) ? -1 : __real_fdatasync(fd);
}
WRAPPED(int, ftruncate, int fd, off_t size) {
  mortal(FAULT_WRITE);
  return due(F_ftruncate) ? -1 : __real_ftruncate(fd, size);
}
WRAPPED(int, posix_fallocate, int fd, off_t offset, off_t length) {
  int error = due(F_posix_fallocate);
  return error ? error : __real_posix_fallocate(fd, offset, length);
}
WRAPPED(int, fallocate, int fd, int mode, off_t offset, off_t length) {
  return due(F_fallocate) ? -1 : __real_fallocate(fd, mode, offset, length);
}
WRAPPED(int, fchmod, int fd, mode_t mode) { return due(F_fchmod) ? -1 : __real_fchmod(fd, mode); }
WRAPPED(int, fchown, int fd, uid_t owner, gid_t group) { return due(F_fchown) ? -1 : __real_fchown(fd, owner, group); }
WRAPPED(int, unlink, const char *path) {
  mortal(FAULT_WRITE);
  return due(F_unlink) ? -1 : __real_unlink(path);
}

/* ----------------------------------------------- memory, locks, randomness -- */

WRAPPED(void *, mmap, void *at, size_t n, int protection, int flags, int fd, off_t offset) {
  return due(F_mmap) ? MAP_FAILED : __real_mmap(at, n, protection, flags, fd, offset);
}
WRAPPED(int, munmap, void *at, size_t n) { return due(F_munmap) ? -1 : __real_munmap(at, n); }
WRAPPED(int, pthread_create, pthread_t *thread, const pthread_attr_t *a, void *(*run)(void *), void *argument) {
  return due(F_pthread_create) ? state.what : __real_pthread_create(thread, a, run, argument);
}
WRAPPED(int, madvise, void *at, size_t n, int advice) { return due(F_madvise) ? -1 : __real_madvise(at, n, advice); }

/* Giving a lock back cannot fail. */
int __real_fcntl(int, int, ...);
int __wrap_fcntl(int, int, ...);
int __wrap_fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  struct flock *lock = va_arg(arguments, struct flock *);
  va_end(arguments);
  if (command == F_OFD_SETLK && lock->l_type != F_UNLCK && due(F_lock)) return -1;
  if (command == F_OFD_GETLK && due(F_getlock)) return -1;
  return __real_fcntl(fd, command, lock);
}

/* The futex of lock.c is the engine's only use of it.  Waking cannot fail. */
long __real_syscall(long, ...);
long __wrap_syscall(long, ...);
long __wrap_syscall(long number, ...) {
  va_list a;
  va_start(a, number);
  void *word = va_arg(a, void *);
  int operation = va_arg(a, int);
  unsigned value = va_arg(a, unsigned);
  void *timeout = va_arg(a, void *);
  va_end(a);
  return operation == FUTEX_WAIT && due(F_futex) ? -1 : __real_syscall(number, word, operation, value, timeout, NULL, 0);
}
WRAPPED(ssize_t, getrandom, void *to, size_t n, unsigned flags) {
  return due(F_getrandom) ? -1 : __real_getrandom(to, n, flags);
}

/* ---------------------------------------------------------------- libpmem -- */

WRAPPED(void *, pmem_map_file, const char *path, size_t n, int flags, mode_t mode, size_t *mapped, int *is_pmem) {
  return due(F_pmem_map_file) ? NULL : __real_pmem_map_file(path, n, flags, mode, mapped, is_pmem);
}
WRAPPED(void *, pmem_memcpy, void *to, const void *from, size_t n, unsigned flags) {
  mortal(FAULT_WRITE);
  return __real_pmem_memcpy(to, from, n, flags);
}
WRAPPED(void, pmem_drain, void) {
  mortal(FAULT_WRITE);
  __real_pmem_drain();
}

/* ------------------------------------------------------------------- time -- */

WRAPPED(int, clock_gettime, clockid_t clock, struct timespec *now) {
  int result = __real_clock_gettime(clock, now);
  uint64_t ns = (uint64_t)now->tv_nsec + flown_ns;
  now->tv_sec += (time_t)(ns / 1000000000u);
  now->tv_nsec = (long)(ns % 1000000000u);
  return result;
}
WRAPPED(int, nanosleep, const struct timespec *wanted, struct timespec *left) {
  if (!state.armed) return __real_nanosleep(wanted, left);
  flown_ns += (uint64_t)wanted->tv_sec * 1000000000u + (uint64_t)wanted->tv_nsec;
  return 0;
}
WRAPPED(int, usleep, useconds_t wanted) {
  if (!state.armed) return __real_usleep(wanted);
  flown_ns += (uint64_t)wanted * 1000u;
  return 0;
}

/* ----------------------------------------- SQLite's system calls and memory -- */

static int s_open(const char *path, int flags, int mode) {
  return due(flags & O_CREAT ? F_s_create : F_s_open) ? -1 : __real_open(path, flags, mode);
}
static int s_close(int fd) {
  int error = due(F_s_close), result = __real_close(fd);
  return error ? -1 : result;
}
static int s_access(const char *path, int mode) { return due(F_s_access) ? -1 : __real_access(path, mode); }
static int s_stat(const char *path, struct stat *to) { return due(F_s_stat) ? -1 : __real_stat(path, to); }
static int s_fstat(int fd, struct stat *to) { return due(F_s_fstat) ? -1 : __real_fstat(fd, to); }
static int s_ftruncate(int fd, off_t size) { return due(F_s_ftruncate) ? -1 : __real_ftruncate(fd, size); }
static int s_fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  bool locks = command == F_SETLK && ((struct flock *)argument)->l_type != F_UNLCK;
  return locks && due(F_s_fcntl) ? -1 : __real_fcntl(fd, command, argument);
}
static size_t s_half(int error, size_t n) { return error == FAULT_SHORT ? (n + 1) / 2 : n; }
static ssize_t s_read(int fd, void *to, size_t n) {
  int error = due(F_s_read);
  return error && error != FAULT_SHORT ? -1 : read(fd, to, s_half(error, n));
}
static ssize_t s_pread(int fd, void *to, size_t n, off_t offset) {
  int error = due(F_s_read);
  return error && error != FAULT_SHORT ? -1 : __real_pread(fd, to, s_half(error, n), offset);
}
static ssize_t s_write(int fd, const void *from, size_t n) { return due(F_s_write) ? -1 : write(fd, from, n); }
static ssize_t s_pwrite(int fd, const void *from, size_t n, off_t offset) {
  return due(F_s_write) ? -1 : __real_pwrite(fd, from, n, offset);
}
static int s_unlink(const char *path) { return due(F_s_unlink) ? -1 : __real_unlink(path); }

static int (*real_folder)(const char *, int *);
static int s_folder(const char *path, int *fd) { return due(F_s_folder) ? SQLITE_CANTOPEN : real_folder(path, fd); }

/* SQLite waits for locks by its VFS. */
static int (*real_sleep)(sqlite3_vfs *, int);
static int s_sleep(sqlite3_vfs *v, int us) {
  if (!state.armed) return real_sleep(v, us);
  flown_ns += (uint64_t)us * 1000u;
  return us;
}

static void install_parent_calls(void) {
  static const struct {
    const char *name;
    sqlite3_syscall_ptr call;
  } table[] = {
#define ENTRY(name, function) {name, (sqlite3_syscall_ptr)(void (*)(void))(function)}
      ENTRY("open", s_open),       ENTRY("close", s_close),     ENTRY("access", s_access),
      ENTRY("stat", s_stat),       ENTRY("fstat", s_fstat),     ENTRY("ftruncate", s_ftruncate),
      ENTRY("fcntl", s_fcntl),     ENTRY("read", s_read),       ENTRY("pread", s_pread),
      ENTRY("pread64", s_pread),   ENTRY("write", s_write),     ENTRY("pwrite", s_pwrite),
      ENTRY("pwrite64", s_pwrite), ENTRY("unlink", s_unlink),   ENTRY("openDirectory", s_folder),
#undef ENTRY
  };
  sqlite3_vfs *v = sqlite3_vfs_find("unix");
  sqlite3_syscall_ptr folder = v->xGetSystemCall(v, "openDirectory");
  memcpy(&real_folder, &folder, sizeof real_folder);
  real_sleep = v->xSleep;
  v->xSleep = s_sleep;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (v->xGetSystemCall(v, table[i].name) == NULL) continue; /* not in this build */
    if (v->xSetSystemCall(v, table[i].name, table[i].call) != SQLITE_OK) abort();
  }
}

static sqlite3_mem_methods memory;
static void *s_malloc(int n) { return due(F_s_malloc) ? NULL : memory.xMalloc(n); }
static void *s_realloc(void *p, int n) { return due(F_s_realloc) ? NULL : memory.xRealloc(p, n); }

void fault_install(void) {
  if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory) != SQLITE_OK) abort();
  sqlite3_mem_methods wrapped = memory;
  wrapped.xMalloc = s_malloc;
  wrapped.xRealloc = s_realloc;
  if (sqlite3_config(SQLITE_CONFIG_MALLOC, &wrapped) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK) abort();
  install_parent_calls();
}
