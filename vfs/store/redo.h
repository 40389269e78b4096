/*
** redo.h - REDO's stores to X, gathered.
**
** A log changes the same blocks again and again, by a few bytes.  In persistent memory each
** change is stored in place, and the lines it touched are flushed once; most are gathered before
** (words.h).  Where a store is a system call, a block is read once, changed in memory, and
** written once.
*/
#ifndef SPM_REDO_H
#define SPM_REDO_H

#include "core.h"

typedef struct spm_redo spm_redo;

/* `log_bytes` are about to be redone in the first `size` bytes of X, which is as long: take page
** faults beforehand where it pays. */
void spm_redo_expect(spm_store *, uint64_t size, uint64_t log_bytes);
int spm_redo_begin(spm_store *, spm_redo **) SPM_MUST_CHECK;
/* Store what an entry changes: with others, and at once. */
int spm_redo_store(spm_store *, spm_redo *, const spm_entry *, const uint8_t *bytes) SPM_MUST_CHECK;
int spm_redo_at_once(spm_store *, const spm_entry *, const uint8_t *bytes) SPM_MUST_CHECK;
/* All of it is in X: as after store and flush, the sync is the caller's.  `redo` is freed. */
int spm_redo_end(spm_store *, spm_redo *) SPM_MUST_CHECK;

#endif
