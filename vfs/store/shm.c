/*
** shm.c - see shm.h.
*/
#define _GNU_SOURCE
#include "shm.h"

#include "counters.h"
#include "version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *spm_sidecar(const char *path, const char *suffix) {
  char *name;
  return asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name;
}

int spm_sidecar_create(int data_fd, const char *name, int *fd) {
  struct stat status;
  if (fstat(data_fd, &status) != 0)
    return spm_error(SQLITE_IOERR_FSTAT, "fstat of the database of %s: %s", name, strerror(errno));
  if (unlink(name) != 0 && errno != ENOENT)
    return spm_error(SQLITE_CANTOPEN, "removing the stale %s: %s", name, strerror(errno));
  *fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, status.st_mode & 0777);
  if (*fd < 0) return spm_error(SQLITE_CANTOPEN, "creating %s: %s", name, strerror(errno));
  /* A root process must not lock the owner out; anybody else owns what it makes. */
  if (geteuid() == 0 && fchown(*fd, status.st_uid, status.st_gid) != 0)
    spm_notice("%s keeps the wrong owner: %s", name, strerror(errno));
  if (fchmod(*fd, status.st_mode & 0777) != 0)
    spm_notice("%s keeps the wrong mode: %s", name, strerror(errno));
  return SQLITE_OK;
}

int spm_sidecar_open(const char *name, int *fd) {
  struct stat status;
  *fd = open(name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (*fd < 0) {
    int code = errno == EACCES || errno == EROFS ? SQLITE_READONLY_RECOVERY : SQLITE_CANTOPEN;
    return spm_error(code, "opening %s: %s", name,
                     errno == ENOENT ? "it is missing, and the database needs it" : strerror(errno));
  }
  if (fstat(*fd, &status) == 0 && S_ISREG(status.st_mode)) return SQLITE_OK;
  close(*fd);
  return spm_error(SQLITE_CANTOPEN, "%s is not a regular file", name);
}

int spm_shm_create(spm_store *s, const spm_superblock *block) {
  char *name = spm_sidecar(s->path, "-pmshm");
  if (name == NULL) return SQLITE_NOMEM;
  int fd, rc = spm_sidecar_create(s->data.fd, name, &fd);
  if (rc == SQLITE_OK) rc = spm_region_open(&s->shared, fd, name, &spm_media_file, SPM_ROOM_SIDECAR);
  free(name);
  if (rc == SQLITE_OK) rc = spm_region_grow(&s->shared, SPM_SHM_IMAGES, SPM_BLOCK_SIZE);
  if (rc != SQLITE_OK) return rc;
  spm_shm *shm = s->shm = (spm_shm *)(void *)s->shared.base;
  shm->magic = SPM_SHM_MAGIC;
  shm->version = SPM_SHM_VERSION;
  shm->size = sizeof *shm;
  memcpy(shm->life, s->life, SPM_LIFE_SIZE);
  shm->salt = block->salt;
  atomic_store(&shm->unlogged, block->unlogged ? SPM_UNVERIFIED : SPM_LOGGED);
  shm->superblock_sequence = block->sequence;
  shm->superblock_size = shm->checkpoint_size = shm->covered_size = block->logical_size;
  shm->held_size = block->logical_size; /* holes may lie beyond: spm_data_grow() looks */
  shm->checkpoint = block->checkpoint;
  shm->checkpointed_ns = spm_clock_coarse_ns();
  shm->segments_made =
      (uint32_t)((atomic_load(&s->log.allocated) - SPM_LOG_HEADER_SIZE) / SPM_SEGMENT_SIZE);
  spm_state *state = &shm->state[0];
  state->tail = block->checkpoint;
  state->next_txid = block->next_txid;
  atomic_store(&state->logical_size, block->logical_size);
  atomic_store(&state->lsn, block->checkpoint.lsn);
  atomic_store(&shm->durable_lsn, block->checkpoint.lsn);
  atomic_store(&shm->published, SPM_PUBLISHED(block->checkpoint.lsn, SPM_PHASE_IDLE));
  return spm_versions_init(s);
}

int spm_shm_broken(spm_store *s, const char *what) {
  spm_poison(s);
  return spm_error(SQLITE_CORRUPT, "%s was written over: %s; close the database everywhere to recover it",
                   s->shared.path, what);
}

void spm_shm_ready(spm_store *s) { atomic_store(&s->shm->ready, 1); }

static bool shm_fits(const spm_store *s) {
  const spm_shm *shm = (const spm_shm *)(const void *)s->shared.base;
  return atomic_load(&s->shared.allocated) >= SPM_SHM_IMAGES && shm->magic == SPM_SHM_MAGIC &&
         shm->version == SPM_SHM_VERSION && shm->size == sizeof *shm &&
         memcmp(shm->life, s->life, SPM_LIFE_SIZE) == 0 && atomic_load(&shm->ready) == 1;
}

int spm_shm_join(spm_store *s) {
  char *name = spm_sidecar(s->path, "-pmshm");
  if (name == NULL) return SQLITE_NOMEM;
  int fd, rc = spm_sidecar_open(name, &fd);
  if (rc == SQLITE_OK) rc = spm_region_open(&s->shared, fd, name, &spm_media_file, SPM_ROOM_SIDECAR);
  if (rc == SQLITE_OK && !shm_fits(s))
    rc = spm_error(SQLITE_CANTOPEN, "%s belongs to another life or another version of this library", name);
  free(name);
  if (rc == SQLITE_OK) s->shm = (spm_shm *)(void *)s->shared.base;
  return rc;
}

/* A slot that is taken but whose byte is free belonged to a process that died. */
int spm_slot_claim(spm_store *s, uint32_t *slot) {
  spm_shm *shm = s->shm;
  int rc = SQLITE_BUSY;
  pthread_mutex_lock(&s->slots_mutex);
  for (uint32_t i = 0; i < SPM_SLOT_COUNT && rc == SQLITE_BUSY; i++) {
    if (s->owned[i]) continue;
    rc = spm_slot_lock(&s->locks, i);
    if (rc != SQLITE_OK) continue;
    s->owned[i] = true;
    atomic_fetch_add(&shm->slots[i].generation, 1);
    atomic_store(&shm->slots[i].snapshot, SPM_SNAPSHOT_FREE);
    atomic_store(&shm->slots[i].pointing, 0);
    atomic_store(&shm->slots[i].holding, 0);
    atomic_store(&shm->slots[i].durability, SPM_DURABLE_AT_ONCE);
    atomic_store(&shm->slots[i].taken, 1);
    shm->slots[i].pid = (uint64_t)getpid();
    /* Second connections of a process are made without the gate: never lower it. */
    for (uint32_t high = atomic_load(&shm->slot_high_water); high <= i;)
      if (atomic_compare_exchange_weak(&shm->slot_high_water, &high, i + 1)) break;
    *slot = i;
  }
  pthread_mutex_unlock(&s->slots_mutex);
  if (rc == SQLITE_BUSY)
    rc = spm_error(SQLITE_CANTOPEN, "%s: all %u attachments are in use", s->path, SPM_SLOT_COUNT);
  return rc;
}

void spm_slot_release(spm_store *s, uint32_t slot) {
  spm_shm *shm = s->shm;
  pthread_mutex_lock(&s->slots_mutex);
  atomic_store(&shm->slots[slot].snapshot, SPM_SNAPSHOT_FREE);
  atomic_store(&shm->slots[slot].pointing, 0);
  atomic_store(&shm->slots[slot].holding, 0);
  atomic_store(&shm->slots[slot].taken, 0);
  s->owned[slot] = false;
  spm_slot_unlock(&s->locks, slot);
  pthread_mutex_unlock(&s->slots_mutex);
}
