/*
** inject.h - every call that can fail, failing when it is told to.
**
** The program is linked with the engine's objects, whose calls of libc and libpmem go to
** wrappers of the linker (--wrap, see faults.mk).  SQLite's own system calls come through
** the table that its VFS keeps for this purpose (xSetSystemCall), its allocations through
** SQLITE_CONFIG_MALLOC.  So three series of calls are counted, each by itself:
**
**     ENGINE   libc and libpmem called by the engine, allocations included
**     PARENT   the system calls of SQLite's own VFS, on whose files the engine stands
**     MEMORY   SQLite's allocations, those that the engine asks for included
**
** A fault is the n-th call of a series, with one of the errors that this call knows.
** ONCE: that call alone.  FOR GOOD: from then on every call, of any series, that knows
** the same error: the disk is full, the device dead, memory or descriptors are used up.
**
** Time flies: while a fault is armed, sleeping takes none, and the clock moves on.
*/
#ifndef SPM_FAULTS_INJECT_H
#define SPM_FAULTS_INJECT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum fault_series { FAULT_ENGINE, FAULT_PARENT, FAULT_MEMORY, FAULT_SERIES } fault_series;

/* A read or write that transfers about half of what was asked. */
#define FAULT_SHORT 1000

/* name, series, the errors it can fail with. */
#define FAULT_CALLS(X)                                                   \
  X(malloc, ENGINE, ENOMEM)                                              \
  X(calloc, ENGINE, ENOMEM)                                              \
  X(realloc, ENGINE, ENOMEM)                                             \
  X(aligned_alloc, ENGINE, ENOMEM)                                       \
  X(strdup, ENGINE, ENOMEM)                                              \
  X(strndup, ENGINE, ENOMEM)                                             \
  X(asprintf, ENGINE, ENOMEM)                                            \
  X(realpath, ENGINE, ENOMEM, EACCES)                                    \
  X(open, ENGINE, EMFILE, EACCES, EIO)                                   \
  X(create, ENGINE, ENOSPC, EACCES, EMFILE, EIO) /* open with O_CREAT */ \
  X(close, ENGINE, EIO)                                                  \
  X(stat, ENGINE, EIO, EACCES)                                           \
  X(fstat, ENGINE, EIO)                                                  \
  X(lseek, ENGINE, EIO)                                                  \
  X(fstatfs, ENGINE, EIO)                                                \
  X(access, ENGINE, EACCES, EIO)                                         \
  X(pread, ENGINE, EIO, EINTR, FAULT_SHORT)                              \
  X(pwrite, ENGINE, EIO, ENOSPC, EINTR, FAULT_SHORT)                     \
  X(fsync, ENGINE, EIO, ENOSPC)                                          \
  X(fdatasync, ENGINE, EIO, ENOSPC)                                      \
  X(ftruncate, ENGINE, EIO)                                              \
  X(posix_fallocate, ENGINE, ENOSPC, EIO, EINTR)                         \
  X(fallocate, ENGINE, EOPNOTSUPP, EIO, EINTR)                           \
  X(fchmod, ENGINE, EPERM, EIO)                                          \
  X(fchown, ENGINE, EPERM, EIO)                                          \
  X(unlink, ENGINE, EACCES, EIO)                                         \
  X(mmap, ENGINE, ENOMEM, EACCES)                                        \
  X(munmap, ENGINE, EINVAL)                                              \
  X(madvise, ENGINE, ENOMEM, EINVAL)                                     \
  X(lock, ENGINE, EAGAIN, ENOLCK, EINTR) /* fcntl F_OFD_SETLK */         \
  X(getlock, ENGINE, EIO)                /* fcntl F_OFD_GETLK */         \
  X(futex, ENGINE, ENOSYS, EINTR)                                        \
  X(pthread_create, ENGINE, EAGAIN)                                      \
  X(getrandom, ENGINE, ENOSYS, EINTR)                                    \
  X(pmem_map_file, ENGINE, ENOMEM, EMFILE)                               \
  X(s_open, PARENT, EMFILE, EACCES, EIO)                                 \
  X(s_create, PARENT, ENOSPC, EACCES, EMFILE)                            \
  X(s_close, PARENT, EIO)                                                \
  X(s_access, PARENT, EACCES)                                            \
  X(s_stat, PARENT, EIO)                                                 \
  X(s_fstat, PARENT, EIO)                                                \
  X(s_fcntl, PARENT, EAGAIN, EIO)                                        \
  X(s_read, PARENT, EIO, EINTR, FAULT_SHORT)                             \
  X(s_write, PARENT, EIO, ENOSPC, EINTR)                                 \
  X(s_ftruncate, PARENT, EIO)                                            \
  X(s_unlink, PARENT, EIO, EACCES)                                       \
  X(s_folder, PARENT, EMFILE) /* opening a folder to sync it */          \
  X(s_malloc, MEMORY, ENOMEM)                                            \
  X(s_realloc, MEMORY, ENOMEM)

#define FAULT_NAME(name, series, ...) F_##name,
typedef enum fault_call { FAULT_CALLS(FAULT_NAME) FAULT_CALL_COUNT } fault_call;
#undef FAULT_NAME

typedef struct fault {
  fault_series series;
  unsigned long at; /* 1, 2, 3... since it was armed */
  unsigned variant; /* which of the call's errors */
  bool for_good;
} fault;

const char *fault_call_name(fault_call);
fault_series fault_call_series(fault_call);
/* Errors that the call knows; 0 behind the last one. */
int fault_error(fault_call, unsigned variant);
const char *fault_error_name(int error);

/* Once, before SQLite is used. */
void fault_install(void);
void fault_arm(const fault *);
void fault_disarm(void);
/* The program itself does something in between. */
void fault_hold(bool);
/* Did it happen, and to which call?  Valid until armed again. */
bool fault_fired(void);
fault_call fault_where(void);
int fault_what(void);
/* Calls that were made to fail; was this one among them? */
unsigned long fault_times(void);
bool fault_hit(fault_call);
/* The process kills itself at the n-th such call from now on; FAULT_WRITE: at the n-th
** that appends, stores, syncs, cuts or unlinks, libpmem's included. */
#define FAULT_WRITE FAULT_CALL_COUNT
void fault_die_at(fault_call, unsigned long n);

/* Allocations of the engine that are live. */
long fault_live(void);

#endif
