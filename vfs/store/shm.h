/*
** shm.h - making, joining and leaving the shared memory of a life.
**
** Callers hold the registry mutex and the gate.
*/
#ifndef SPM_SHM_H
#define SPM_SHM_H

#include "core.h"

/* Make X-pmshm anew, its state that of `block`; not ready until recovery is done. */
struct spm_superblock;
int spm_shm_create(spm_store *, const spm_superblock *) SPM_MUST_CHECK;
/* Map the one that the others use; refused if it is of another life or not ready. */
int spm_shm_join(spm_store *) SPM_MUST_CHECK;
void spm_shm_ready(spm_store *);

/* Claim a slot for a new connection; give it back. */
int spm_slot_claim(spm_store *, uint32_t *slot) SPM_MUST_CHECK;
void spm_slot_release(spm_store *, uint32_t slot);

/* X-pmlog, X-pmshm: malloc'ed names. */
char *spm_sidecar(const char *path, const char *suffix);
/* Create a sidecar with X's mode and owner, or open one; never through a symlink. */
int spm_sidecar_create(int data_fd, const char *name, int *fd) SPM_MUST_CHECK;
int spm_sidecar_open(const char *name, int *fd) SPM_MUST_CHECK;

#endif
