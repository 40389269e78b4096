/*
** checkpoint.h - making X durable up to some LSN, so that the log before it is free.
**
** The log itself is the list of what is dirty: a step reads the records behind the
** checkpoint again and flushes the ranges of X that they changed.  A range is in
** the log before it is stored to, and a step counts only after the fence of the
** thread that flushed (S18); nothing need be marked.  Holders of the writer lock
** only; before-images are not in the log, so no reader holds a checkpoint back.
**
** PMEM goes on in small steps, a little with each commit; FILE has one sync for
** all of X, so it waits until the log is worth one.
**
** Once an interval (`checkpoint_interval`) the steps go on to the LSN that was the newest
** when the interval had passed, and a superblock then says so.  A commit looks at the
** coarse clock for that; there is no thread.
*/
#ifndef SPM_CHECKPOINT_H
#define SPM_CHECKPOINT_H

#include "core.h"

/* After a commit: a step if the log has grown enough to want one; gives back what
** a transaction larger than the log's limit had taken. */
int spm_checkpoint_step(spm_store *, bool alone) SPM_MUST_CHECK;
/* A large step towards the committed end, where there are such: *more says whether another
** one would help. */
int spm_checkpoint_part(spm_store *, bool *more) SPM_MUST_CHECK;
/* All the way to the committed end. */
int spm_checkpoint_all(spm_store *) SPM_MUST_CHECK;
/* Everything before being durable in X: begin the log anew in its first segment
** with a new salt; `clean` says that nobody needs it. */
int spm_checkpoint_restart(spm_store *, bool clean) SPM_MUST_CHECK;

/* Give back the log's space above its limit, as far as it is free. */
int spm_checkpoint_trim(spm_store *, bool alone) SPM_MUST_CHECK;

#endif
