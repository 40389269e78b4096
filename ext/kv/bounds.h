/*
** bounds.h - the ranges of keys that a plan and its arguments stand for.
**
** SQLite's values become bytes here; what follows compares bytes only.  A range with
** low == high is a point.
*/
#ifndef SPM_KV_BOUNDS_H
#define SPM_KV_BOUNDS_H

#include "key.h"
#include "readset.h"

#define SPM_BOUNDS_OWN 3u /* a pattern may match numbers, text and blobs */

typedef struct spm_bounds {
  spm_range *ranges; /* ascending, without overlap */
  uint32_t count;
  spm_range own[SPM_BOUNDS_OWN];
  spm_key keys[4];   /* bytes of `own`                    */
  uint8_t *list;     /* ranges and bytes of an IN, or NULL */
} spm_bounds;

/* Takes the first arguments that the plan has; *used tells how many.  `binary`: see
** plan.h; otherwise ranges are wide enough for any order of text. */
int spm_bounds_set(spm_bounds *, int plan, bool binary, sqlite3_value **arguments, int *used) SPM_MUST_CHECK;
void spm_bounds_clear(spm_bounds *);

static inline bool spm_range_is_point(const spm_range *r) { return r->nlow > 0 && r->low == r->high; }

#endif
