/*
** record.c - the calls through which anything reaches media, performed and recorded.
**
** The engine has no hooks.  Three things of it pass here because of how this program is
** linked:
**
**   - libpmem's and libc's functions: a definition in the program comes before the
**     libraries', for the engine and for libsqlite3.so alike;
**   - the choice of the medium (--wrap=spm_media_of): a third table, which is the real
**     one for PMEM with its cached store recorded, since a memcpy cannot be seen;
**   - nothing else: every other way to media would show as a file that differs from what
**     the trace builds (sim_verify).
**
** Emulated persistent memory is a shared mapping of tmpfs: the bytes are there at once
** for every process, and what of them would be on media is sim.c's to say.
*/
#define _GNU_SOURCE
#include "crash.h"

#include "../../vfs/store/region.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ------------------------------------------------------- the third table -- */

static bool medium_is_file;
void record_medium(bool file) { medium_is_file = file; }

/* The region whose operation is under way in this thread. */
static _Thread_local const spm_region *busy;

static int recorded_append(spm_region *r, uint64_t offset, const void *p, size_t n) {
  busy = r;
  int rc = spm_media_pmem.append(r, offset, p, n);
  busy = NULL;
  return rc;
}

static int recorded_store(spm_region *r, uint64_t offset, const void *p, size_t n) {
  if (!trace_lock()) return spm_media_pmem.store(r, offset, p, n);
  int rc = spm_media_pmem.store(r, offset, p, n);
  uint64_t file = trace_file(r->fd);
  if (file != 0) trace_append(EV_STORE, file, offset, n, p, n);
  trace_unlock();
  return rc;
}

static void recorded_flush(spm_region *r, uint64_t offset, size_t n) {
  busy = r;
  spm_media_pmem.flush(r, offset, n);
  busy = NULL;
}

static int recorded_sync(spm_region *r) { return spm_media_pmem.sync(r); }

static const spm_media recorded_pmem = {"pmem-recorded", true, recorded_append, recorded_store, recorded_flush,
                                        recorded_sync};

const spm_media *__wrap_spm_media_of(const char *path);
const spm_media *__wrap_spm_media_of(const char *path) {
  (void)path;
  return medium_is_file ? &spm_media_file : &recorded_pmem;
}

/* --------------------------------------------------------------- libpmem -- */

static uint64_t offset_of(const void *address) { return (uint64_t)((const char *)address - busy->base); }

void *pmem_memcpy(void *to, const void *from, size_t n, unsigned flags) {
  if (busy == NULL || (flags & PMEM_F_MEM_NODRAIN) == 0) crash_die("pmem_memcpy outside of the media table");
  bool recorded = trace_lock();
  memcpy(to, from, n);
  if (!recorded) return to;
  uint64_t file = trace_file(busy->fd);
  event_kind kind = flags & PMEM_F_MEM_NONTEMPORAL ? EV_NT : EV_STORE;
  if (file != 0) trace_append(kind, file, offset_of(to), n, from, n);
  trace_unlock();
  return to;
}

void pmem_flush(const void *address, size_t n) {
  if (!trace_lock()) return;
  uint64_t file = busy != NULL ? trace_file(busy->fd) : 0;
  if (file != 0) trace_append(EV_FLUSH, file, offset_of(address), n, NULL, 0);
  trace_unlock();
}

void pmem_drain(void) {
  if (!trace_lock()) return;
  trace_append(EV_DRAIN, 0, 0, 0, NULL, 0);
  trace_unlock();
}

/* ------------------------------------------------------------------ libc -- */

static const char *full_path;
void record_full(const char *path) { full_path = path; }

/* What a file has, it keeps, on a full disk too. */
static bool disk_is_full(int fd, uint64_t end) {
  struct stat wanted, status;
  return full_path != NULL && stat(full_path, &wanted) == 0 && fstat(fd, &status) == 0 &&
         wanted.st_ino == status.st_ino && end > (uint64_t)status.st_size;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t offset) {
  if (disk_is_full(fd, (uint64_t)offset + n)) {
    errno = ENOSPC;
    return -1;
  }
  bool recorded = trace_lock();
  ssize_t done = syscall(SYS_pwrite64, fd, p, n, offset);
  if (!recorded) return done;
  int error = errno;
  uint64_t file = done > 0 ? trace_file(fd) : 0;
  if (file != 0) trace_append(EV_WRITE, file, (uint64_t)offset, (uint64_t)done, p, (size_t)done);
  trace_unlock();
  errno = error;
  return done;
}
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t offset) { return pwrite(fd, p, n, offset); }

ssize_t write(int fd, const void *p, size_t n) {
  if (trace_recording() && trace_file(fd) != 0) crash_die("write() to a file that is on media is not modelled");
  return syscall(SYS_write, fd, p, n);
}

static int synced(int fd, long number) {
  trace_before_sync();
  bool recorded = trace_lock();
  int rc = (int)syscall(number, fd);
  if (!recorded) return rc;
  uint64_t file = trace_file(fd);
  if (rc == 0 && file != 0) trace_append(EV_SYNC, file, 0, 0, NULL, 0);
  if (rc == 0 && trace_is_folder(fd)) trace_append(EV_FOLDER, 0, 0, 0, NULL, 0);
  trace_unlock();
  return rc;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int resized(int fd, off_t size) {
  bool recorded = trace_lock();
  int rc = (int)syscall(SYS_ftruncate, fd, size);
  if (!recorded) return rc;
  uint64_t file = rc == 0 ? trace_file(fd) : 0;
  if (file != 0) trace_append(EV_SIZE, file, (uint64_t)size, 0, NULL, 0);
  trace_unlock();
  return rc;
}
int ftruncate(int fd, off_t size) { return resized(fd, size); }
int truncate(const char *path, off_t size) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  int rc = fd < 0 ? -1 : resized(fd, size);
  if (fd >= 0) close(fd);
  return rc;
}
int ftruncate64(int fd, off64_t size) { return resized(fd, size); }

static int allocated(int fd, int mode, off_t offset, off_t length) {
  struct stat status;
  bool recorded = trace_lock();
  int rc = (int)syscall(SYS_fallocate, fd, mode, offset, length);
  if (!recorded) return rc;
  uint64_t file = rc == 0 ? trace_file(fd) : 0;
  if (file != 0 && (mode & FALLOC_FL_PUNCH_HOLE))
    trace_append(EV_PUNCH, file, (uint64_t)offset, (uint64_t)length, NULL, 0);
  else if (file != 0 && fstat(fd, &status) == 0)
    trace_append(EV_SIZE, file, (uint64_t)status.st_size, 0, NULL, 0);
  trace_unlock();
  return rc;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return allocated(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) {
  return allocated(fd, 0, offset, length) == 0 ? 0 : errno;
}

static int opened(const char *path, int flags, mode_t mode) {
  const char *name = (flags & O_CREAT) && trace_recording() ? trace_name(path) : NULL;
  if (name == NULL) return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  struct stat status;
  (void)trace_lock();
  bool there = stat(path, &status) == 0;
  if (there && (flags & O_TRUNC)) crash_die("O_TRUNC of a file that is there is not modelled");
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  int error = errno;
  if (!there && fd >= 0 && fstat(fd, &status) == 0) {
    trace_add_file(status.st_ino);
    trace_append(EV_CREATE, status.st_ino, 0, 0, name, strlen(name) + 1);
  }
  trace_unlock();
  errno = error;
  return fd;
}

#define MODE_OF(flags, mode)                       \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {         \
    va_list arguments;                             \
    va_start(arguments, flags);                    \
    (mode) = (mode_t)va_arg(arguments, unsigned);  \
    va_end(arguments);                             \
  }

int open(const char *path, int flags, ...) {
  mode_t mode = 0;
  MODE_OF(flags, mode)
  return opened(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  mode_t mode = 0;
  MODE_OF(flags, mode)
  return opened(path, flags, mode);
}

int unlink(const char *path) {
  const char *name = trace_recording() ? trace_name(path) : NULL;
  if (name == NULL) return (int)syscall(SYS_unlink, path);
  (void)trace_lock();
  int rc = (int)syscall(SYS_unlink, path);
  int error = errno;
  if (rc == 0) trace_append(EV_UNLINK, 0, 0, 0, name, strlen(name) + 1);
  trace_unlock();
  errno = error;
  return rc;
}

int rename(const char *from, const char *to) {
  if (trace_recording() && (trace_name(from) != NULL || trace_name(to) != NULL))
    crash_die("rename() is not modelled");
  return (int)syscall(SYS_rename, from, to);
}

/* The store's lives and salts come from the seed, so that a failure can be replayed; each
** process has its own, or two of them would choose the same salt. */
static uint64_t random_seed, random_count;

void record_set_seed(uint64_t seed) {
  random_seed = mix(seed);
  random_count = 0;
}

ssize_t getrandom(void *to, size_t n, unsigned flags) {
  (void)flags;
  uint8_t *bytes = to;
  for (size_t i = 0; i < n; i++) {
    if (i % 8 == 0) random_count++;
    bytes[i] = (uint8_t)(mix(random_seed + random_count * 1000003u) >> (i % 8 * 8));
  }
  return (ssize_t)n;
}
