/*
** commit.h - the writing side of a connection: lock, write set, stage, commit.
**
** One durability point a commit (S4):
**
**   stage     the difference against the committed blocks; log, file and image
**             space reserved: whatever can fail, fails here (S10)
**   harden    the commit record appended, ONE sync
**   finish    that, if it has not been done; then nothing can fail:
**             mark, save before-images, apply, publish (snapshot.h, S11, S12)
**
** Between the two a key-value table waits for SQLite, which listens to it before its own
** commit and not after it.
**
** Crash points and what the next one finds:
**   before the sync        no valid commit record, or one that is valid by luck:
**                          it is then made durable again and committed (S19)
**   after it, before or
**   while applying         the record: REDO from it gives the same bytes (S5)
**   after publishing       the same; REDO is idempotent
**
** A commit that may be durable later (pending.h) has no sync, and leaves images where
** others apply.
*/
#ifndef SPM_COMMIT_H
#define SPM_COMMIT_H

#include "core.h"

/* The calls themselves are the store's own interface: store.h. */
#include "store.h"

/* Read what the transaction sees; [offset, offset + n) below its size. */
int spm_write_read(spm_conn *, uint64_t offset, uint32_t n, void *to) SPM_MUST_CHECK;

/* The writer lock without a transaction; SQLITE_BUSY.  A dead owner is taken over. */
int spm_lock_acquire(spm_conn *) SPM_MUST_CHECK;
void spm_lock_release(spm_conn *);

/* Has the transaction written to these bytes' blocks, or cut them off? */
bool spm_write_touches(const spm_conn *, uint64_t offset, uint32_t n);

#endif
