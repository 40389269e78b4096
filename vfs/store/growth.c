/*
** growth.c - see growth.h.
*/
#include "growth.h"

/* X grows by a thirty-second of itself, within these bounds. */
#define STEP_MIN (UINT64_C(1) << 16)
#define STEP_MAX (UINT64_C(1) << 26)

static uint64_t step_for(uint64_t size) {
  uint64_t step = STEP_MIN;
  while (step < STEP_MAX && step < size / 32) step *= 2;
  return step;
}

/* What shared memory says, as far as the file bears it out. */
static int held(spm_store *s, uint64_t *size) {
  *size = s->shm->held_size;
  int rc = spm_region_holds(&s->data, *size);
  if (rc != SQLITE_NOTFOUND) return rc;
  return spm_shm_broken(s, "the length of the database");
}

int spm_data_grow(spm_store *s, uint64_t size) {
  spm_shm *shm = s->shm;
  uint64_t wanted = SPM_ALIGN(size, SPM_BLOCK_SIZE), there;
  int rc = held(s, &there);
  if (rc != SQLITE_OK || wanted <= there) return rc;
  uint64_t target = SPM_ALIGN(wanted, step_for(wanted)), size_max = atomic_load(&s->size_max);
  if (size_max != 0 && target > size_max) target = wanted;
  if (target > s->data.reserved) target = wanted;
  if (target > s->data.reserved)
    return spm_error(SQLITE_FULL, "%s: %llu bytes pass the %llu that can be mapped here", s->path,
                     (unsigned long long)target, (unsigned long long)s->data.reserved);
  rc = spm_region_fill(&s->data, there, target - there);
  if (rc == SQLITE_FULL && target > wanted) {
    target = wanted;
    rc = spm_region_fill(&s->data, there, target - there);
  }
  if (rc == SQLITE_OK) shm->held_size = target;
  return rc;
}

/* Twice a step, or growing and shrinking would chase each other. */
bool spm_data_slack(const spm_store *s, uint64_t size) {
  uint64_t end = SPM_ALIGN(size, SPM_BLOCK_SIZE);
  return s->shm->held_size > end + 2 * step_for(end);
}

int spm_data_release(spm_store *s, uint64_t size, bool alone) {
  uint64_t end = SPM_ALIGN(size > 0 ? size : 1, SPM_BLOCK_SIZE); /* the stamp needs a place */
  uint64_t there;
  int rc = held(s, &there);
  if (rc != SQLITE_OK || there <= end) return rc;
  s->shm->held_size = end; /* first: who takes over must not count on it */
  return alone ? spm_region_truncate(&s->data, end) : spm_region_punch(&s->data, end, there - end);
}
