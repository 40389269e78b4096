/*
** pending.h - commits that are acknowledged and not durable yet (S13).
**
** On persistent memory there are none: a commit is durable at once in every mode.  On
** FILE a connection may ask to be told before the sync of the log; then
**
**   the commit      appends its records, without the sync, and leaves what it wrote as
**                   pending images (version.h): X must not change before the log is
**                   durable (S5)
**   a flush         syncs the log; from then on `durable_lsn` says so, and the images may
**                   go to X, oldest first, under the writer lock
**
** After a power loss the log ends somewhere behind `durable_lsn`, and X has nothing of
** what stood behind it: a prefix of the commits.  How long one may stay so is bounded
** by a deadline in shared memory, which flushers of any attachment serve (flusher.h), and
** by the number of images; a commit past either flushes first, and is durable itself.
*/
#ifndef SPM_PENDING_H
#define SPM_PENDING_H

#include "core.h"

/* Low bits of a deadline.  Some commit relies on it since it was set or put off: only who
** has flushed that commit may drop it.  And the flushers that slept have been woken: who
** set it may have died before, and then the next to rely on it does it. */
#define SPM_DUE_RELIED_ON UINT64_C(1)
#define SPM_DUE_TOLD UINT64_C(2)
#define SPM_DUE_BITS (SPM_DUE_RELIED_ON | SPM_DUE_TOLD)

/* W: may the commit of this staged transaction be acknowledged before it is durable? */
bool spm_pending_allowed(const spm_conn *);
/* After publishing such a commit: ask for its flush in time. */
void spm_pending_ask(spm_conn *);
/* Make durable what is committed by now; anybody may, at any time.  A failure poisons. */
int spm_pending_sync(spm_store *) SPM_MUST_CHECK;
/* W: some of what is durable goes to X; *more: not all of it did. */
int spm_pending_apply(spm_store *, bool *more) SPM_MUST_CHECK;
/* W: both, whole: X is what is committed. */
int spm_pending_flush(spm_store *) SPM_MUST_CHECK;
/* Everything up to `lsn` is durable. */
void spm_pending_durable(spm_store *, uint64_t lsn);
/* Is any commit not durable, or not in X? */
bool spm_pending_any(const spm_store *);

#endif
