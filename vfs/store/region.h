/*
** region.h - a mapped, growing file, on persistent memory or not.
**
** The only files that call libpmem, mmap, msync, fdatasync and fallocate are
** region.c and the media tables it picks from.  Everything above writes through
** four operations whose meaning is the same on every medium:
**
**     append   bytes that the next sync makes durable (the log, superblocks)
**     store    bytes that become visible now and durable only after flush+sync
**     flush    begin to make a stored range durable
**     sync     all appends and flushes of this thread are durable when it returns
**
**     MEDIUM   append               store    flush        sync
**     PMEM     non-temporal copy    memcpy   pmem_flush   pmem_drain
**     FILE     pwrite               pwrite   -            fdatasync
**
** A simulated third table, which records and crashes, is handed in by tests.
** The address space is reserved far beyond the file's end, so that growth moves
** nothing; only [0, allocated) may be touched.
*/
#ifndef SPM_REGION_H
#define SPM_REGION_H

#include "error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct spm_region spm_region;

typedef struct spm_media {
  const char *name; /* as pmem_stats shows it: pmem, pmem-forced, file */
  bool persistent;  /* true: commits need no system call               */
  int (*append)(spm_region *, uint64_t offset, const void *, size_t);
  int (*store)(spm_region *, uint64_t offset, const void *, size_t);
  void (*flush)(spm_region *, uint64_t offset, size_t);
  int (*sync)(spm_region *);
} spm_media;

struct spm_region {
  const spm_media *media;
  char *base;                 /* start of the reserved address space           */
  uint64_t reserved;          /* bytes of address space                        */
  _Atomic uint64_t allocated; /* bytes of the file known to be backed by space */
  int fd;
  char *path;
};

/* Address space to ask for, in bytes: some hundred databases fit a process. */
#define SPM_ROOM_DATA (UINT64_C(1) << 38)
#define SPM_ROOM_SIDECAR (UINT64_C(1) << 36)

extern const spm_media spm_media_pmem;
extern const spm_media spm_media_pmem_forced;
extern const spm_media spm_media_file;

/* What libpmem itself says of an existing, non-empty file. */
const spm_media *spm_media_of(const char *path);

/* Give a new file its first `size` bytes of space, which read as zero; closes `fd` if
** there is none. */
int spm_file_allocate(int fd, const char *path, uint64_t size) SPM_MUST_CHECK;
/* Map `fd` (the region takes it over) whose file is `path`, with address space for
** `room` bytes or for many times what it holds now, if there is as much. */
int spm_region_open(spm_region *, int fd, const char *path, const spm_media *, uint64_t room) SPM_MUST_CHECK;
/* Does the file have `size` bytes, all of them mapped?  SQLITE_OK, or SQLITE_NOTFOUND if it
** is shorter: a load from there would be a SIGBUS. */
int spm_region_holds(spm_region *, uint64_t size) SPM_MUST_CHECK;
/* Does [0, size) lie in the address space?  Another process may have reserved more. */
int spm_region_reaches(const spm_region *, uint64_t size) SPM_MUST_CHECK;
void spm_region_close(spm_region *);

/* Make [0, size) writable, growing the file in steps.  SQLITE_FULL on a full disk. */
int spm_region_grow(spm_region *, uint64_t size, uint64_t step) SPM_MUST_CHECK;
/* The file may have been grown or cut by another process: look again. */
int spm_region_refresh(spm_region *) SPM_MUST_CHECK;
/* Cut the file; only while no other process has it mapped (S22). */
int spm_region_truncate(spm_region *, uint64_t size) SPM_MUST_CHECK;
/* Give the pages of a range back, and take them again, behind the end too; what was
** given back reads as zero. */
int spm_region_punch(spm_region *, uint64_t offset, uint64_t length) SPM_MUST_CHECK;
int spm_region_fill(spm_region *, uint64_t offset, uint64_t length) SPM_MUST_CHECK;
/* Take the page faults of a range now and not in a commit; a hint. */
void spm_region_prefault(spm_region *, uint64_t offset, uint64_t length);
/* Read with pread, so that a bad block is an error and no SIGBUS. */
int spm_region_read(spm_region *, uint64_t offset, void *, size_t) SPM_MUST_CHECK;
/* fsync, file size and all; and of the folder a path is in. */
int spm_region_fsync(spm_region *) SPM_MUST_CHECK;
int spm_folder_fsync(const char *path) SPM_MUST_CHECK;

/* What pmem_debug() says of the machine (store.h). */
void spm_store_platform(char *text, size_t size);

static inline int spm_append(spm_region *r, uint64_t offset, const void *p, size_t n) {
  return r->media->append(r, offset, p, n);
}
static inline int spm_store_bytes(spm_region *r, uint64_t offset, const void *p, size_t n) {
  return r->media->store(r, offset, p, n);
}
static inline void spm_flush(spm_region *r, uint64_t offset, size_t n) {
  r->media->flush(r, offset, n);
}
static inline int spm_sync(spm_region *r) { return r->media->sync(r); }
/* Stored, flushed and synced: durable when this returns. */
static inline int spm_store_durably(spm_region *r, uint64_t offset, const void *p, size_t n) {
  int rc = spm_store_bytes(r, offset, p, n);
  spm_flush(r, offset, n);
  return rc == SQLITE_OK ? spm_sync(r) : rc;
}

#endif
