/*
** trace.h - what several processes did to the files of one folder, in one order.
**
** A trace lies in memory that a process shares with the children it forks.  While one
** is open (trace_open), every call that reaches media passes record.c, which performs
** it and appends its event under the trace's lock: so the order of the events is the
** order in which the calls took effect.  An *actor* is a thread of a process; a fence
** orders what its own actor flushed, and nothing else.
**
**     KIND      FROM                                       MEANING
**     STORE     the table's store, on PMEM                 cached bytes
**     NT        pmem_memcpy                                non-temporal bytes
**     FLUSH     pmem_flush                                 lines on their way
**     DRAIN     pmem_drain                                 this actor's fence
**     WRITE     pwrite                                     bytes in the page cache
**     SYNC      fsync, fdatasync of a file                 its pages and length durable
**     SIZE      ftruncate, fallocate behind the end        `offset` is the new length
**     PUNCH     fallocate of a hole                        zeros
**     CREATE    open with O_CREAT that made a file         payload: its name
**     UNLINK    unlink                                     payload: its name
**     FOLDER    fsync of the folder                        names durable
**     PROMISE   the workload, see promise_*()              what a reopening may find
**     SCOPE     the workload                               crash points begin, end
**
** The lock is held across a call, never across a death: a process dies where a test
** says so (trace_at), before it takes the lock.
*/
#ifndef SPM_CRASH_TRACE_H
#define SPM_CRASH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum event_kind {
  EV_STORE, EV_NT, EV_FLUSH, EV_DRAIN, EV_WRITE, EV_SYNC, EV_SIZE, EV_PUNCH,
  EV_CREATE, EV_UNLINK, EV_FOLDER, EV_PROMISE, EV_SCOPE, EV_KINDS
} event_kind;

typedef struct event {
  uint32_t kind;
  uint32_t actor;
  uint64_t file;   /* inode number; PROMISE: promise_phase; SCOPE: begin? */
  uint64_t offset; /* PROMISE: the hash */
  uint64_t length; /* FLUSH, PUNCH: bytes of the range */
  uint64_t bytes;  /* of payload that follow, padded to 8 */
} event;

typedef struct trace trace;

trace *trace_new(void);
void trace_reset(trace *);
const event *trace_first(const trace *);
const event *trace_next(const trace *, const event *); /* NULL: the end */
static inline const uint8_t *event_payload(const event *e) { return (const uint8_t *)(e + 1); }
const char *event_name(const event *);

/* Record what this process, and children it forks, do to the files of `folder`. */
void trace_open(trace *, const char *folder);
void trace_close(void);
bool trace_recording(void);

/* For record.c: everything between these two is one step for all processes. */
bool trace_lock(void); /* false: nobody records, and there is nothing to unlock */
void trace_unlock(void);
void trace_append(event_kind, uint64_t file, uint64_t offset, uint64_t length, const void *payload, size_t bytes);
/* Is it a file of the folder?  Sidecars of shared memory are none.  0: no. */
uint64_t trace_file(int fd);
bool trace_is_folder(int fd);
/* The name in the folder, NULL: it is elsewhere, or not on media. */
const char *trace_name(const char *path);
void trace_add_file(uint64_t file);

/* Call `function` before the n-th event from now of this process, once. */
void trace_at(unsigned long n, void (*function)(void));
unsigned long trace_count(void); /* events of this process so far */
/* The same before its n-th sync of a file; on persistent memory those are few, and each
** ends a moment in which a file is longer than media know.  record.c tells of them. */
void trace_at_sync(unsigned long n, void (*function)(void));
void trace_before_sync(void);

/* ---- what the workload has promised ----
** A state is a hash of the logical content.  STARTED: a commit to this state has begun;
** it may be found or not.  KEPT: this state, and no earlier one, will be found.
** DROPPED: what had been started will not be found any more. */
typedef enum promise_phase { PROMISE_STARTED, PROMISE_KEPT, PROMISE_DROPPED } promise_phase;
void promise(promise_phase, uint64_t state);
/* Crash points are only looked at between begin and end. */
void scope(bool begin);

/* Random bytes for the store and the tests, the same for the same seed. */
void chance_seed(uint64_t seed);
uint64_t chance(uint64_t below);

#endif
