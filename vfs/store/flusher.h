/*
** flusher.h - the thread that makes commits durable in time (pending.h, S13).
**
** A process has one for each store in which a connection of it asked for a mode other
** than sync, on FILE only.  Idle, it sleeps on a futex in shared memory, without an end,
** until some commit, of any process, sets a deadline.  It is an attachment like others,
** with a slot of its own, for it needs the writer lock to bring X up to date; it does not
** keep the store open.  The log is synced without the lock: writers go on meanwhile.
*/
#ifndef SPM_FLUSHER_H
#define SPM_FLUSHER_H

#include "core.h"

/* Start it, on a connection that it uses from now on.  SQLITE_IOERR: no thread is to be had. */
int spm_flusher_start(spm_store *, spm_conn *) SPM_MUST_CHECK;
/* Stop it, after what it has under way, and give the connection back; NULL: there is none. */
spm_conn *spm_flusher_stop(spm_store *);

#endif
