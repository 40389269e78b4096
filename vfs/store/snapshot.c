/*
** snapshot.c - see snapshot.h.
*/
#define _GNU_SOURCE
#include "snapshot.h"

#include "takeover.h"
#include "version.h"

#include <string.h>
#include <time.h>

/* A small commit on PMEM takes microseconds, on a slow disk an apply takes a few
** milliseconds.  After this long the writer is stopped, or its machine is. */
#define WAIT_MAX_US 20000u
#define TAKEOVERS_MAX 8u /* dead writers that one read can meet one after another */
#define SPINS_BEFORE_CLOCK 4096u

/* The word once it is idle or covered.  SQLITE_BUSY if it stays SMALL. */
static int await_word(spm_conn *c, uint64_t *word) {
  spm_shm *shm = c->store->shm;
  uint64_t deadline = 0;
  for (uint32_t spin = 0;; spin++) {
    *word = atomic_load(&shm->published);
    if (SPM_PUBLISHED_PHASE(*word) != SPM_PHASE_SMALL) return SQLITE_OK;
    spm_cpu_relax();
    if (spin % SPINS_BEFORE_CLOCK != SPINS_BEFORE_CLOCK - 1) continue;
    int rc = spm_takeover_if_dead(c);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) return rc;
    if (spm_poisoned(c->store)) /* X is half changed: only recovery helps */
      return spm_error(SQLITE_IOERR, "%s: an earlier write failed; close it everywhere to recover it", c->store->path);
    uint64_t now = spm_now_us();
    if (deadline == 0) deadline = now + WAIT_MAX_US;
    if (now >= deadline) return SQLITE_BUSY;
  }
}

bool spm_snapshot_alone(spm_store *s, uint32_t self) {
  spm_shm *shm = s->shm;
  uint32_t end = spm_slots_end(shm);
  for (uint32_t i = 0; i < end; i++)
    if (i != self && atomic_load(&shm->slots[i].taken)) return false;
  return true;
}

static void begin_pointing(spm_conn *c) {
  _Atomic uint32_t *pointing = &c->store->shm->slots[c->slot].pointing;
  atomic_store(pointing, 1);
  c->pointing = spm_snapshot_alone(c->store, c->slot);
  if (!c->pointing) atomic_store(pointing, 0);
}

static void end_pointing(spm_conn *c) {
  if (!c->pointing) return;
  c->pointing = false;
  atomic_store_explicit(&c->store->shm->slots[c->slot].pointing, 0, memory_order_release);
}

bool spm_snapshot_points(spm_store *s, uint32_t self) {
  spm_shm *shm = s->shm;
  uint32_t end = spm_slots_end(shm);
  for (uint32_t i = 0; i < end; i++)
    if (i != self && atomic_load(&shm->slots[i].pointing)) return true;
  return false;
}

static bool slot_of_others_reads(spm_store *s) {
  uint32_t end = atomic_load(&s->shm->slot_high_water);
  bool found = false;
  pthread_mutex_lock(&s->slots_mutex);
  for (uint32_t i = 0; i < end && !found; i++)
    found = !s->owned[i] && atomic_load(&s->shm->slots[i].snapshot) != SPM_SNAPSHOT_FREE;
  pthread_mutex_unlock(&s->slots_mutex);
  return found;
}

bool spm_snapshot_elsewhere(spm_store *s) {
  if (!slot_of_others_reads(s)) return false;
  spm_snapshot_reap(s); /* the dead read nothing */
  return slot_of_others_reads(s);
}

bool spm_snapshot_held(spm_store *s, uint32_t self) {
  spm_shm *shm = s->shm;
  uint32_t end = atomic_load(&shm->slot_high_water);
  for (uint32_t i = 0; i < end; i++)
    if (i != self && atomic_load_explicit(&shm->slots[i].holding, memory_order_relaxed)) return true;
  return false;
}

/* A writer in exclusive mode shuts the others out, unless it is dead. */
static int check_exclusion(spm_conn *c) {
  spm_shm *shm = c->store->shm;
  if (atomic_load_explicit(&shm->excluding, memory_order_relaxed) == 0 || spm_writer_is(shm, c->slot))
    return SQLITE_OK;
  return spm_takeover_if_dead(c);
}

static void give_up(spm_conn *c) {
  atomic_store(&c->store->shm->slots[c->slot].snapshot, SPM_SNAPSHOT_FREE);
  end_pointing(c);
}

/* For people: the coarse clock costs a few nanoseconds. */
static void note_begun(spm_slot *slot) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  slot->began = (uint32_t)now.tv_sec;
  uint64_t taken = atomic_load_explicit(&slot->snapshots, memory_order_relaxed);
  atomic_store_explicit(&slot->snapshots, taken + 1, memory_order_relaxed);
}

int spm_snapshot_begin(spm_conn *c) {
  spm_shm *shm = c->store->shm;
  _Atomic uint64_t *slot = &shm->slots[c->slot].snapshot;
  if (c->wants_pointers) begin_pointing(c);
  for (;;) {
    c->moved = atomic_load_explicit(&shm->pending_moved, memory_order_acquire);
    uint64_t word;
    atomic_store(slot, SPM_SNAPSHOT_ANY); /* sequentially consistent: the fence */
    int rc = check_exclusion(c);
    if (rc == SQLITE_OK) rc = await_word(c, &word);
    if (rc != SQLITE_OK) {
      give_up(c);
      return rc;
    }
    uint64_t lsn = SPM_PUBLISHED_LSN(word);
    spm_state *state = spm_state_at(shm, lsn);
    bool right = atomic_load_explicit(&state->lsn, memory_order_acquire) == lsn;
    uint64_t size = atomic_load_explicit(&state->logical_size, memory_order_acquire);
    /* The state of n is overwritten only by the commit after the next: what was read of it
    ** before this look counts, and nothing that is read of it later. */
    if (atomic_load(&shm->published) != word) continue;
    rc = right ? spm_region_holds(&c->store->data, size) : SQLITE_NOTFOUND;
    if (rc == SQLITE_NOTFOUND) rc = spm_shm_broken(c->store, "the newest state");
    if (rc != SQLITE_OK) {
      give_up(c);
      return rc;
    }
    atomic_store_explicit(slot, lsn, memory_order_release);
    c->snapshot = lsn;
    c->snapshot_size = size;
    note_begun(&shm->slots[c->slot]);
    return SQLITE_OK;
  }
}

void spm_snapshot_end(spm_conn *c) {
  if (c->snapshot == 0) return;
  c->snapshot = 0;
  end_pointing(c);
  if (c->holding) atomic_store(&c->store->shm->slots[c->slot].holding, 0);
  c->holding = false;
  atomic_store_explicit(&c->store->shm->slots[c->slot].snapshot, SPM_SNAPSHOT_FREE,
                        memory_order_release);
}

void spm_snapshot_advance(spm_conn *c, uint64_t lsn, uint64_t size) {
  c->snapshot = lsn;
  c->snapshot_size = size;
  c->moved = atomic_load_explicit(&c->store->shm->pending_moved, memory_order_acquire);
  atomic_store_explicit(&c->store->shm->slots[c->slot].snapshot, lsn, memory_order_release);
}

/* The copy races with a writer's stores by design; validation decides whether it counts.
** The thread sanitizer must not see it, and would in the memcpy that it puts in place of
** libc's. */
__attribute__((no_sanitize("thread"))) static void racing_copy(void *to, const void *from, size_t n) {
#if defined(__SANITIZE_THREAD__)
  for (size_t i = 0; i < n; i++) ((volatile char *)to)[i] = ((const volatile char *)from)[i];
#else
  memcpy(to, from, n);
#endif
}

/* Replace those parts of the copied range whose blocks have moved on. */
static int patch_from_images(spm_conn *c, uint64_t offset, uint32_t n, char *to) {
  unsigned tries = 0;
  while (n > 0) {
    uint32_t in_block = (uint32_t)(offset % SPM_BLOCK_SIZE);
    uint32_t part = SPM_BLOCK_SIZE - in_block < n ? SPM_BLOCK_SIZE - in_block : n;
    uint32_t block = (uint32_t)(offset / SPM_BLOCK_SIZE);
    int rc = spm_versions_read(c->store, block, c->snapshot, in_block, part, to);
    if (rc == SQLITE_BUSY) {
      rc = spm_takeover_if_dead(c);
      if (rc == SQLITE_OK && tries++ < TAKEOVERS_MAX) continue;
      if (rc == SQLITE_OK) rc = spm_shm_broken(c->store, "the images are for ever in change");
    }
    if (rc != SQLITE_OK && rc != SQLITE_NOTFOUND) return rc;
    offset += part;
    to += part;
    n -= part;
  }
  return SQLITE_OK;
}

/* The fence is before the loads: what was read before them counts.  Images are there
** before the first store to their blocks, and stay while this snapshot needs them: with
** none alive, no commit that it does not see has changed anything yet.  And X has what the
** snapshot sees: nothing is pending, and nothing was pending and went there meanwhile. */
bool spm_snapshot_still(const spm_conn *c, uint64_t moved) {
  spm_shm *shm = c->store->shm;
  atomic_thread_fence(memory_order_acquire);
  bool whole = atomic_load_explicit(&shm->images_pending, memory_order_relaxed) == 0;
  uint64_t word = atomic_load_explicit(&shm->published, memory_order_relaxed);
  if (word != SPM_PUBLISHED(c->snapshot, SPM_PHASE_IDLE))
    whole = atomic_load_explicit(&shm->images_live, memory_order_acquire) == 0;
  atomic_thread_fence(memory_order_acquire);
  return whole && atomic_load_explicit(&shm->pending_moved, memory_order_relaxed) == moved;
}

int spm_snapshot_read(spm_conn *c, uint64_t offset, uint32_t n, void *to) {
  spm_shm *shm = c->store->shm;
  for (;;) {
    uint64_t moved = atomic_load_explicit(&shm->pending_moved, memory_order_acquire);
    racing_copy(to, c->store->data.base + offset, n);
    if (spm_snapshot_still(c, moved)) return SQLITE_OK;
    int rc = patch_from_images(c, offset, n, to);
    if (rc != SQLITE_OK || atomic_load_explicit(&shm->pending_moved, memory_order_acquire) == moved) return rc;
    spm_cpu_relax(); /* a batch of pending images took 64 writes: this does not happen often */
  }
}

void spm_snapshot_scan(spm_store *s, uint32_t self, uint64_t *oldest, uint64_t *newest) {
  spm_shm *shm = s->shm;
  uint64_t committed = spm_committed_lsn(shm);
  uint32_t end = spm_slots_end(shm);
  *oldest = UINT64_MAX;
  *newest = 0;
  for (uint32_t i = 0; i < end; i++) {
    uint64_t snapshot = atomic_load(&shm->slots[i].snapshot);
    if (snapshot == SPM_SNAPSHOT_FREE || i == self) continue;
    bool registering = snapshot == SPM_SNAPSHOT_ANY;
    /* It may have read the word long ago, or be about to: it pins everything. */
    if (registering || snapshot < *oldest) *oldest = registering ? 0 : snapshot;
    if (registering || snapshot > *newest) *newest = registering ? committed : snapshot;
  }
}

bool spm_snapshot_list(spm_store *s, uint32_t self, uint64_t list[SPM_SLOT_COUNT], uint32_t *count) {
  spm_shm *shm = s->shm;
  uint32_t end = spm_slots_end(shm);
  *count = 0;
  for (uint32_t i = 0; i < end; i++) {
    uint64_t snapshot = atomic_load(&shm->slots[i].snapshot);
    if (snapshot == SPM_SNAPSHOT_ANY) return false;
    if (snapshot == SPM_SNAPSHOT_FREE || i == self) continue;
    uint32_t at = (*count)++;
    for (; at > 0 && list[at - 1] > snapshot; at--) list[at] = list[at - 1];
    list[at] = snapshot;
  }
  return true;
}

/* Whoever frees a slot holds its byte first, or its owner could come back to life
** in between (S3).  Bytes of this process cannot be asked: they are its own. */
void spm_snapshot_reap(spm_store *s) {
  spm_shm *shm = s->shm;
  uint32_t end = spm_slots_end(shm);
  pthread_mutex_lock(&s->slots_mutex);
  for (uint32_t i = 0; i < end; i++) {
    if (s->owned[i] || !atomic_load(&shm->slots[i].taken)) continue;
    if (spm_slot_lock(&s->locks, i) != SQLITE_OK) continue;
    atomic_store(&shm->slots[i].snapshot, SPM_SNAPSHOT_FREE);
    atomic_store(&shm->slots[i].pointing, 0);
    atomic_store(&shm->slots[i].holding, 0);
    atomic_store(&shm->slots[i].taken, 0);
    spm_slot_unlock(&s->locks, i);
  }
  pthread_mutex_unlock(&s->slots_mutex);
}
