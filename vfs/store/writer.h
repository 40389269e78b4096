/*
** writer.h - becoming the writer, and ceasing to be: the lock's protocol (S15, S16).
**
** Waiting is short: who cannot have the lock within about two milliseconds is told
** SQLITE_BUSY, who has been overtaken SQLITE_BUSY_SNAPSHOT at once, and whoever finds a
** dead owner finishes what that one had begun (takeover.h).
*/
#ifndef SPM_WRITER_H
#define SPM_WRITER_H

#include "core.h"

/* The calls themselves, spm_write_begin() to spm_write_end(), are the store's own
** interface: store.h. */
#include "store.h"

/* The writer lock without a transaction; SQLITE_BUSY. */
int spm_lock_acquire(spm_conn *) SPM_MUST_CHECK;
/* The same, but a dead owner is left to others. */
int spm_lock_acquire_living(spm_conn *) SPM_MUST_CHECK;
void spm_lock_release(spm_conn *);

#endif
