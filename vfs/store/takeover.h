/*
** takeover.h - finishing what a dead writer began, while others live on (S17).
**
** Called by the next writer, and by a reader that finds the dead one in its way.
*/
#ifndef SPM_TAKEOVER_H
#define SPM_TAKEOVER_H

#include "core.h"

/* If the writer word names an attachment that is gone, inherit the lock, finish
** or drop its transaction, and release.  SQLITE_OK: it was done, or there was
** nobody in the way any more; SQLITE_BUSY: the owner lives. */
int spm_takeover_if_dead(spm_conn *) SPM_MUST_CHECK;

/* The same for a caller that wants the lock: it keeps it on SQLITE_OK if *taken. */
int spm_takeover_lock(spm_conn *, uint32_t owner, bool *taken) SPM_MUST_CHECK;

#endif
