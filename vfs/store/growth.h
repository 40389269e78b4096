/*
** growth.h - the space behind X: taken ahead in steps, given back after a shrink.
**
** `held_size` in shared memory says how much of X has space behind it.  What lies
** beyond may be a hole or behind the file's end, whatever this process last saw of
** its length, and is allocated before anything is committed there: a store into a
** hole on a full disk would be a SIGBUS instead of SQLITE_FULL.
**
** Giving back is for what no snapshot reads, no transaction wrote and no REDO needs:
** above the committed size, once the checkpoint has got there.  The file is cut if
** this is the only attachment, else its pages are punched out (S22).
*/
#ifndef SPM_GROWTH_H
#define SPM_GROWTH_H

#include "core.h"

/* W: make [0, size) of X writable.  SQLITE_FULL on a full disk. */
int spm_data_grow(spm_store *, uint64_t size) SPM_MUST_CHECK;
/* W: is there enough unused space at the end of X to be worth giving back? */
bool spm_data_slack(const spm_store *, uint64_t size);
/* W: give it back; everything up to `size` is checkpointed. */
int spm_data_release(spm_store *, uint64_t size, bool alone) SPM_MUST_CHECK;

#endif
