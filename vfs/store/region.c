/*
** region.c - see region.h.
*/
#define _GNU_SOURCE
#include "region.h"

#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Untouched address space costs nothing, but a sandbox may grant less than is asked
** for: ask for half, and so on. */
#define RESERVE_MIN (UINT64_C(1) << 26)
#define RESERVE_FACTOR 16u /* times the file's present size, if that is more */

/* ---------------------------------------------------------------- PMEM -- */

static int pmem_append(spm_region *r, uint64_t offset, const void *p, size_t n) {
  pmem_memcpy(r->base + offset, p, n, PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
  return SQLITE_OK;
}

static int pmem_store(spm_region *r, uint64_t offset, const void *p, size_t n) {
  memcpy(r->base + offset, p, n);
  return SQLITE_OK;
}

static void pmem_flush_range(spm_region *r, uint64_t offset, size_t n) {
  pmem_flush(r->base + offset, n);
}

static int pmem_sync(spm_region *r) {
  (void)r;
  pmem_drain();
  return SQLITE_OK;
}

const spm_media spm_media_pmem = {"pmem", true, pmem_append, pmem_store, pmem_flush_range, pmem_sync};
const spm_media spm_media_pmem_forced = {"pmem-forced", true, pmem_append, pmem_store,
                                         pmem_flush_range, pmem_sync};

/* ---------------------------------------------------------------- FILE -- */

static int file_append(spm_region *r, uint64_t offset, const void *p, size_t n) {
  const char *bytes = p;
  while (n > 0) {
    ssize_t done = pwrite(r->fd, bytes, n, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) {
      int code = errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : SQLITE_IOERR_WRITE;
      return spm_error(code, "writing %zu bytes at %llu of %s: %s", n, (unsigned long long)offset,
                       r->path, strerror(errno));
    }
    bytes += done;
    offset += (uint64_t)done;
    n -= (size_t)done;
  }
  return SQLITE_OK;
}

static void file_flush(spm_region *r, uint64_t offset, size_t n) {
  (void)r;
  (void)offset;
  (void)n;
}

static int file_sync(spm_region *r) {
  if (fdatasync(r->fd) == 0) return SQLITE_OK;
  return spm_error(SQLITE_IOERR_FSYNC, "fdatasync of %s: %s", r->path, strerror(errno));
}

const spm_media spm_media_file = {"file", false, file_append, file_append, file_flush, file_sync};

/* -------------------------------------------------------------- mapping -- */

const spm_media *spm_media_of(const char *path) {
  size_t length = 0;
  int persistent = 0;
  void *address = pmem_map_file(path, 0, 0, 0, &length, &persistent);
  if (address == NULL) return &spm_media_file;
  (void)pmem_unmap(address, length);
  if (!persistent) return &spm_media_file;
  const char *forced = getenv("PMEM_IS_PMEM_FORCE");
  return forced != NULL && forced[0] == '1' ? &spm_media_pmem_forced : &spm_media_pmem;
}

static int allocation_error(int error) {
  return error == ENOSPC || error == EDQUOT || error == EFBIG ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

/* A signal in the middle is no reason to fail: what was allocated by then stays so. */
static int allocate(int fd, uint64_t offset, uint64_t length) {
  int error;
  do error = posix_fallocate(fd, (off_t)offset, (off_t)length);
  while (error == EINTR);
  return error;
}

int spm_file_allocate(int fd, const char *path, uint64_t size) {
  int error = allocate(fd, 0, size);
  if (error == 0) return SQLITE_OK;
  close(fd);
  errno = error;
  return spm_error(allocation_error(error), "allocating %llu bytes for %s: %s", (unsigned long long)size,
                   path, strerror(error));
}

/* On real persistent memory the mapping must be MAP_SYNC, or a store could be
** lost with the file system's metadata for its page; plain MAP_SHARED ignores
** the flag, so MAP_SHARED_VALIDATE asks for a refusal instead. */
static void *region_map(int fd, uint64_t length, const spm_media *media) {
  int flags = media == &spm_media_pmem ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
  return mmap(NULL, length, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);
}

static int reserve(spm_region *r, uint64_t room) {
  uint64_t many = atomic_load(&r->allocated) * RESERVE_FACTOR;
  r->reserved = RESERVE_MIN;
  while (r->reserved < room || r->reserved < many) r->reserved *= 2;
  for (; r->reserved >= RESERVE_MIN; r->reserved /= 2) {
    r->base = region_map(r->fd, r->reserved, r->media);
    if (r->base != MAP_FAILED) break;
  }
  if (r->base == MAP_FAILED) return spm_error(SQLITE_IOERR_MMAP, "mapping %s: %s", r->path, strerror(errno));
  (void)madvise(r->base, r->reserved, MADV_DONTFORK);
  return SQLITE_OK;
}

int spm_region_reaches(const spm_region *r, uint64_t size) {
  if (size <= r->reserved) return SQLITE_OK;
  return spm_error(SQLITE_IOERR_MMAP,
                   "%s has %llu bytes, address space was found for %llu: open it again, or with more (ulimit -v)",
                   r->path, (unsigned long long)size, (unsigned long long)r->reserved);
}

int spm_region_holds(spm_region *r, uint64_t size) {
  if (size > atomic_load(&r->allocated)) {
    int rc = spm_region_refresh(r); /* another process may have made it longer */
    if (rc != SQLITE_OK) return rc;
    if (size > atomic_load(&r->allocated)) return SQLITE_NOTFOUND;
  }
  return spm_region_reaches(r, size);
}

int spm_region_open(spm_region *r, int fd, const char *path, const spm_media *media, uint64_t room) {
  *r = (spm_region){.media = media, .base = MAP_FAILED, .fd = fd, .path = strdup(path)};
  if (r->path == NULL) {
    close(fd);
    r->fd = -1;
    return SQLITE_NOMEM;
  }
  int rc = spm_region_refresh(r);
  if (rc == SQLITE_OK) rc = reserve(r, room);
  if (rc == SQLITE_OK) rc = spm_region_reaches(r, atomic_load(&r->allocated));
  if (rc != SQLITE_OK) spm_region_close(r);
  return rc;
}

void spm_region_close(spm_region *r) {
  if (r->base != MAP_FAILED && r->base != NULL) (void)munmap(r->base, r->reserved);
  if (r->fd >= 0) close(r->fd);
  free(r->path);
  *r = (spm_region){.base = MAP_FAILED, .fd = -1};
}

/* lseek, not fstat: who looks at a file's times has the next write give it new ones, to the
** nanosecond, and some file systems write them out in its fdatasync. */
int spm_region_refresh(spm_region *r) {
  off_t size = lseek(r->fd, 0, SEEK_END);
  if (size < 0) return spm_error(SQLITE_IOERR_SEEK, "the length of %s: %s", r->path, strerror(errno));
  atomic_store(&r->allocated, (uint64_t)size);
  return SQLITE_OK;
}

/* A drain makes bytes durable, not the file's new end; FILE's fdatasync does both. */
static int settle_metadata(spm_region *r) { return r->media->persistent ? file_sync(r) : SQLITE_OK; }

/* posix_fallocate, not ftruncate: a hole that meets a full disk later would be
** a SIGBUS in the middle of a commit instead of SQLITE_FULL before it. */
int spm_region_grow(spm_region *r, uint64_t size, uint64_t step) {
  uint64_t allocated = atomic_load(&r->allocated);
  if (size <= allocated) return SQLITE_OK;
  if (size > r->reserved)
    return spm_error(SQLITE_FULL, "%s: %llu bytes pass the %llu that can be mapped here", r->path,
                     (unsigned long long)size, (unsigned long long)r->reserved);
  uint64_t target = SPM_ALIGN(size, step);
  if (target > r->reserved) target = size;
  int error = allocate(r->fd, allocated, target - allocated);
  if (error != 0 && target > size) {
    target = SPM_ALIGN(size, SPM_BLOCK_SIZE);
    error = allocate(r->fd, allocated, target - allocated);
  }
  if (error != 0) {
    /* A partly satisfied request may have moved the file's end: not our size. */
    errno = error;
    return spm_error(allocation_error(error), "growing %s to %llu bytes: %s", r->path, (unsigned long long)target,
                     strerror(error));
  }
  atomic_store(&r->allocated, target);
  return settle_metadata(r);
}

int spm_region_truncate(spm_region *r, uint64_t size) {
  if (ftruncate(r->fd, (off_t)size) != 0)
    return spm_error(SQLITE_IOERR_TRUNCATE, "truncating %s to %llu bytes: %s", r->path,
                     (unsigned long long)size, strerror(errno));
  atomic_store(&r->allocated, size);
  return SQLITE_OK;
}

int spm_region_punch(spm_region *r, uint64_t offset, uint64_t length) {
  int result;
  do result = fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
  while (result != 0 && errno == EINTR);
  if (result == 0) return SQLITE_OK;
  return spm_error(SQLITE_IOERR_TRUNCATE, "freeing %llu bytes at %llu of %s: %s",
                   (unsigned long long)length, (unsigned long long)offset, r->path, strerror(errno));
}

int spm_region_fill(spm_region *r, uint64_t offset, uint64_t length) {
  int error = allocate(r->fd, offset, length);
  if (error == 0) {
    if (offset + length > atomic_load(&r->allocated)) atomic_store(&r->allocated, offset + length);
    return settle_metadata(r);
  }
  errno = error;
  return spm_error(allocation_error(error), "allocating %llu bytes at %llu of %s: %s", (unsigned long long)length,
                   (unsigned long long)offset, r->path, strerror(error));
}

void spm_region_prefault(spm_region *r, uint64_t offset, uint64_t length) {
#ifdef MADV_POPULATE_WRITE
  (void)madvise(r->base + offset, length, MADV_POPULATE_WRITE);
#else
  (void)r, (void)offset, (void)length;
#endif
}

int spm_region_read(spm_region *r, uint64_t offset, void *p, size_t n) {
  char *bytes = p;
  while (n > 0) {
    ssize_t done = pread(r->fd, bytes, n, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0)
      return spm_error(SQLITE_IOERR_READ, "reading %zu bytes at %llu of %s: %s", n,
                       (unsigned long long)offset, r->path, strerror(errno));
    if (done == 0) return SQLITE_IOERR_SHORT_READ;
    bytes += done;
    offset += (uint64_t)done;
    n -= (size_t)done;
  }
  return SQLITE_OK;
}

int spm_region_fsync(spm_region *r) {
  if (fsync(r->fd) == 0) return SQLITE_OK;
  return spm_error(SQLITE_IOERR_FSYNC, "fsync of %s: %s", r->path, strerror(errno));
}

int spm_folder_fsync(const char *path) {
  char *copy = strdup(path);
  if (copy == NULL) return SQLITE_NOMEM;
  int rc = SQLITE_OK;
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) != 0)
    rc = spm_error(SQLITE_IOERR_DIR_FSYNC, "syncing the folder of %s: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
  free(copy);
  return rc;
}

/* ------------------------------------------------------------- platform -- */

#if defined(__x86_64__)
static const char *flush_instruction(void) {
  unsigned a, b = 0, c, d;
  (void)__get_cpuid_count(7, 0, &a, &b, &c, &d);
  return b & (1u << 24) ? "clwb" : b & (1u << 23) ? "clflushopt" : "clflush";
}
#else
static const char *flush_instruction(void) { return "libpmem's choice"; }
#endif

/* libpmem tells whether it is at least of a version, not which one it is. */
void spm_store_platform(char *text, size_t size) {
  unsigned minor = 0;
  while (pmem_check_version(PMEM_MAJOR_VERSION, minor + 1) == NULL) minor++;
  (void)snprintf(text, size, "libpmem %d.%u; flush %s; eADR %s", PMEM_MAJOR_VERSION, minor, flush_instruction(),
                 pmem_has_auto_flush() == 1 ? "yes" : "no");
}
