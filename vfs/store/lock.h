/*
** lock.h - locks between processes: bytes on X's own inode, and the writer word.
**
** OFD locks belong to an open file description and vanish with it, so the byte
** of a slot is held exactly as long as its process lives (S1).  The bytes lie far
** above SQLite's own lock bytes at 1 GiB.  Conflicts are asked for through a
** *second* description, because one's own locks never conflict with oneself (S3).
**
** The writer word names its owner by slot and generation, never by process or
** thread (S15): a connection may commit from another thread, and thread ids mean
** nothing across PID namespaces.
*/
#ifndef SPM_LOCK_H
#define SPM_LOCK_H

#include "shm_layout.h"
#include "error.h"

#include <stdbool.h>

typedef struct spm_locks {
  int fd;    /* holds the gate and the slots of this process            */
  int probe; /* another description of the same inode, for F_OFD_GETLK  */
} spm_locks;

/* Take the gate, waiting about `patience_ms`; SQLITE_BUSY after that. */
int spm_gate_enter(const spm_locks *, unsigned patience_ms) SPM_MUST_CHECK;
void spm_gate_leave(const spm_locks *);

/* Claim a slot's byte; SQLITE_BUSY if another process holds it. */
int spm_slot_lock(const spm_locks *, uint32_t slot) SPM_MUST_CHECK;
void spm_slot_unlock(const spm_locks *, uint32_t slot);
/* Does any process, this one included, hold the byte of `slot`? */
bool spm_slot_alive(const spm_locks *, uint32_t slot);
/* Does any process, this one included, hold any slot? */
bool spm_any_slot_alive(const spm_locks *);

/* Try once to make `slot` the writer; *owner is the word in its way otherwise.
** `woken`: the caller has just slept for it, so a free word is meant for it (S16). */
bool spm_writer_try(spm_shm *, uint32_t slot, bool woken, uint32_t *owner);
/* Take the word from an owner that was found dead. */
bool spm_writer_inherit(spm_shm *, uint32_t owner, uint32_t slot);
/* Sleep in the kernel until the word changes, for about a millisecond. */
void spm_writer_wait(spm_shm *, uint32_t owner);
void spm_writer_release(spm_shm *, uint32_t slot);
/* Is the attachment that an owner word names still there?  A system call. */
bool spm_writer_alive(const spm_locks *, spm_shm *, uint32_t owner);
/* The word that names `slot` as an owner. */
uint32_t spm_owner_word(spm_shm *, uint32_t slot);
bool spm_writer_held(const spm_shm *);
bool spm_writer_is(spm_shm *, uint32_t slot);

/* Sleep while *word is `seen`, for `ns` at most, UINT64_MAX: without an end; it may be
** shorter.  Move the word on, and wake all who sleep on it, of all processes. */
void spm_futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns);
void spm_futex_wake_all(_Atomic uint32_t *word);

void spm_cpu_relax(void);
uint64_t spm_now_us(void);

#endif
