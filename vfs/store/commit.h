/*
** commit.h - committing what a connection has written, or dropping it.
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

/* The calls themselves, spm_commit_stage() and so on, are the store's own interface. */
#include "store.h"

#endif
