/*
** media.h - the third media table: the real ones, watched.
**
** media_install() puts a layer around both tables of region.c, for every region of
** this process, and around those calls of libc that change files.  Each passes here
** as an *operation*, in the order in which it happens:
**
**     the tables'    append, store, flush, sync
**     libc's         pwrite, fdatasync, fsync, ftruncate, posix_fallocate (and
**                    fallocate), unlink
**
** An operation can be counted, listed, made to fail, or be the moment at which the
** process dies, stops, or calls a test's function: before it takes effect.
**
** FAULT MODEL of media_power_loss(): what was appended or flushed and then synced is
** on media; what was appended or flushed only, or stored only, may be or may not be;
** a file's length is what it last was.  On FILE a store counts as flushed.
*/
#ifndef SPM_TEST_MEDIA_H
#define SPM_TEST_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum media_kind {
  MEDIA_APPEND, MEDIA_STORE, MEDIA_FLUSH, MEDIA_SYNC,
  MEDIA_PWRITE, MEDIA_FDATASYNC, MEDIA_FSYNC, MEDIA_TRUNCATE, MEDIA_ALLOCATE, MEDIA_UNLINK
} media_kind;

#define MEDIA_BIT(kind) (1u << (kind))
#define MEDIA_TABLES 0x00fu /* the operations of the tables */
#define MEDIA_CALLS 0x3f0u  /* those of libc                */
#define MEDIA_ALL 0x3ffu

/* Which file an operation is about. */
typedef enum media_file { MEDIA_DATA = 'x', MEDIA_LOG = 'l', MEDIA_SHARED = 's', MEDIA_OTHER = '?' } media_file;

typedef struct media_operation {
  media_kind kind;
  media_file file;
  uint64_t offset, length;
} media_operation;

void media_install(void);
/* From now on every new log counts as FILE, whatever it is on. */
void media_force_file(void);

/* At the n-th operation of these kinds, counted from now, on these files (a string of
** media_file letters, NULL: all): once. */
typedef enum media_action { MEDIA_KILL, MEDIA_STOP, MEDIA_FAIL, MEDIA_FAIL_ON, MEDIA_CALL } media_action;
void media_at(unsigned kinds, const char *files, unsigned long n, media_action);
/* What MEDIA_FAIL (this one) and MEDIA_FAIL_ON (this and all later ones) answer: EIO
** unless set. */
void media_errno(int error);
void media_call(void (*function)(const media_operation *));
void media_calm(void); /* no more of it */

/* The operations since the last media_forget(). */
const media_operation *media_operations(size_t *count);
unsigned long media_count(unsigned kinds, const char *files);
void media_forget(void);

/* Calls of libpmem's pmem_drain() in this process. */
unsigned long media_drains(void);

/* Remember what is on media: from here on `path` and its log are tracked. */
void media_track(const char *path);
/* Write what a power loss now would leave of both to `target` and its log: of what is
** not synced nothing, all, or each line of 64 bytes by the throw of a coin. */
typedef enum media_loss { MEDIA_LOSE_ALL, MEDIA_LOSE_NONE, MEDIA_LOSE_SOME } media_loss;
void media_power_loss(const char *target, media_loss, uint64_t seed);

/* Called in the middle of a qsort(), once: the sweep of a take-over is in one. */
void media_in_qsort(void (*function)(void));

#endif
