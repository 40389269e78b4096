/*
** lock.c - see lock.h.
*/
#define _GNU_SOURCE
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define GATE_BYTE (INT64_C(1) << 62)
#define SLOT_BYTE(slot) (GATE_BYTE + 1 + (int64_t)(slot))

/* The writer word's bits beside its owner: bit 30: somebody sleeps on it.  A free word
** is 0, or HANDOFF: free, but a sleeper was woken a moment ago and newcomers step back
** for it. */
#define OWNER_SLOT_BITS SPM_OWNER_SLOT_BITS
#define OWNER_SLOT_MASK SPM_OWNER_SLOT_MASK
#define OWNER_GENERATION_MASK SPM_OWNER_GENERATION_MASK
#define SLEEPERS (1u << 30)
#define HANDOFF (1u << 31)

static_assert(SPM_SLOT_COUNT + 1 <= OWNER_SLOT_MASK, "a slot fits the writer word");

void spm_cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  atomic_signal_fence(memory_order_seq_cst);
#endif
}

uint64_t spm_now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

void spm_futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns) {
  struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, ns == UINT64_MAX ? NULL : &timeout, NULL, 0);
}

void spm_futex_wake_all(_Atomic uint32_t *word) {
  atomic_fetch_add(word, 1);
  (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int ofd_lock(int fd, short type, int64_t start) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};
  int result;
  do result = fcntl(fd, F_OFD_SETLK, &lock);
  while (result != 0 && errno == EINTR);
  return result;
}

static bool ofd_held(int fd, int64_t start, int64_t length) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  /* An answer that cannot be had must not make anyone look dead. */
  return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

int spm_gate_enter(const spm_locks *locks, unsigned patience_ms) {
  uint64_t deadline = spm_now_us() + (uint64_t)patience_ms * 1000;
  for (;;) {
    if (ofd_lock(locks->fd, F_WRLCK, GATE_BYTE) == 0) return SQLITE_OK;
    if (errno != EAGAIN && errno != EACCES)
      return spm_error(SQLITE_IOERR_LOCK,
                       "this file system has no open-file-description locks: %s", strerror(errno));
    if (spm_now_us() >= deadline) return SQLITE_BUSY;
    struct timespec pause = {.tv_nsec = 200000};
    nanosleep(&pause, NULL);
  }
}

void spm_gate_leave(const spm_locks *locks) { (void)ofd_lock(locks->fd, F_UNLCK, GATE_BYTE); }

int spm_slot_lock(const spm_locks *locks, uint32_t slot) {
  if (ofd_lock(locks->fd, F_WRLCK, SLOT_BYTE(slot)) == 0) return SQLITE_OK;
  if (errno == EAGAIN || errno == EACCES) return SQLITE_BUSY;
  return spm_error(SQLITE_IOERR_LOCK, "locking slot %u: %s", slot, strerror(errno));
}

void spm_slot_unlock(const spm_locks *locks, uint32_t slot) {
  (void)ofd_lock(locks->fd, F_UNLCK, SLOT_BYTE(slot));
}

bool spm_slot_alive(const spm_locks *locks, uint32_t slot) {
  return ofd_held(locks->probe, SLOT_BYTE(slot), 1);
}

bool spm_any_slot_alive(const spm_locks *locks) {
  return ofd_held(locks->probe, SLOT_BYTE(0), SPM_SLOT_COUNT);
}

uint32_t spm_owner_word(spm_shm *shm, uint32_t slot) {
  uint32_t generation = atomic_load(&shm->slots[slot].generation) & OWNER_GENERATION_MASK;
  return (slot + 1) | (generation << OWNER_SLOT_BITS);
}

/* The byte alone is not enough: the slot may have found a new owner since. */
bool spm_writer_alive(const spm_locks *locks, spm_shm *shm, uint32_t owner) {
  if ((owner & OWNER_SLOT_MASK) == 0) return true; /* nobody's: nothing to inherit */
  uint32_t slot = (owner & OWNER_SLOT_MASK) - 1;
  if (slot >= SPM_SLOT_COUNT || (owner & ~SLEEPERS) != spm_owner_word(shm, slot)) return false;
  return spm_slot_alive(locks, slot);
}

bool spm_writer_held(const spm_shm *shm) { return (atomic_load(&shm->writer) & OWNER_SLOT_MASK) != 0; }

bool spm_writer_is(spm_shm *shm, uint32_t slot) {
  return (atomic_load(&shm->writer) & ~SLEEPERS) == spm_owner_word(shm, slot);
}

bool spm_writer_try(spm_shm *shm, uint32_t slot, bool woken, uint32_t *owner) {
  uint32_t word = 0;
  if (atomic_compare_exchange_strong(&shm->writer, &word, spm_owner_word(shm, slot))) return true;
  if (word == HANDOFF) {
    /* Step back about as long as a wake-up takes, then stop being polite: the
    ** sleeper may have given up or died, and nobody else clears the bit. */
    for (int i = 0; !woken && i < 2000 && atomic_load(&shm->writer) == HANDOFF; i++) spm_cpu_relax();
    word = HANDOFF;
    if (atomic_compare_exchange_strong(&shm->writer, &word, spm_owner_word(shm, slot))) return true;
  }
  *owner = word;
  return false;
}

bool spm_writer_inherit(spm_shm *shm, uint32_t owner, uint32_t slot) {
  return atomic_compare_exchange_strong(&shm->writer, &owner, spm_owner_word(shm, slot));
}

void spm_writer_wait(spm_shm *shm, uint32_t owner) {
  if ((owner & OWNER_SLOT_MASK) == 0) return; /* free by now */
  uint32_t asleep = owner | SLEEPERS;
  if (owner != asleep && !atomic_compare_exchange_strong(&shm->writer, &owner, asleep)) return;
  struct timespec timeout = {.tv_nsec = 1000000};
  (void)syscall(SYS_futex, &shm->writer, FUTEX_WAIT, asleep, &timeout, NULL, 0);
}

void spm_writer_release(spm_shm *shm, uint32_t slot) {
  uint32_t owner = spm_owner_word(shm, slot);
  if (atomic_compare_exchange_strong(&shm->writer, &owner, 0)) return;
  if (owner != (spm_owner_word(shm, slot) | SLEEPERS)) return; /* not ours */
  atomic_store(&shm->writer, HANDOFF);
  (void)syscall(SYS_futex, &shm->writer, FUTEX_WAKE, 1, NULL, NULL, 0);
}
