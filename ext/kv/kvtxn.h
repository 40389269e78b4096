/*
** kvtxn.h - a SQL transaction on one store: begin, savepoints, validation, commit.
**
** SQLite calls each table of a transaction; all tables of one connection on one store
** have one transaction here, so every call but the first does nothing (K4).
**
** The transaction reads the snapshot of its first write, DDL or, where its end will be told
** (anchor.h), read, and its own write set over it.
** At COMMIT, in order:
**
**   lock      become the writer; if others have committed since that snapshot, compare
**             what was written (and, serializable, what was read) with what is there now
**             (K6); make, drop and rename trees (ddl.h), put the write set into them
**   stage     become durable, or be prepared: together.h.  SQLite listens to no error after
**             this; should it give up itself, the record is taken back
**   commit    publish what is durable
**   rollback  drop it all, at any time before
**
** First committer wins: who comes later and finds a key of its own changed is told
** SQLITE_BUSY_SNAPSHOT and the key, and SQLite rolls it back.  A transaction whose COMMIT
** failed for another reason may go on: the next thing it does gives the lock back.
*/
#ifndef SPM_KV_KVTXN_H
#define SPM_KV_KVTXN_H

#include "session.h"

/* Begin, if that has not been done; back to ACTIVE from STAGED. */
int spm_kvtxn_begin(spm_session *) SPM_MUST_CHECK;
/* After a COMMIT that was refused the user goes on: give the store's lock back. */
void spm_kvtxn_reopen(spm_session *);
/* Is there anything to commit that has not been staged? */
bool spm_kvtxn_has_work(const spm_session *);
int spm_kvtxn_lock(spm_session *) SPM_MUST_CHECK;
/* It is prepared, and nobody can say now what was decided: only recovery may. */
void spm_kvtxn_leave_in_doubt(spm_session *);
/* Its result reaches nobody but the error log: SQLite has decided by then. */
int spm_kvtxn_commit(spm_session *);
void spm_kvtxn_rollback(spm_session *);
void spm_kvtxn_free(spm_session *);

/* Savepoints have numbers from 0; -1 is the transaction itself, and is always there. */
int spm_kvtxn_savepoint(spm_session *, int number) SPM_MUST_CHECK;
/* Those with lower numbers are there already, whoever is told of them later: to roll back to
** them is to undo all changes that are yet to come. */
void spm_kvtxn_older(spm_session *, int number);
void spm_kvtxn_release(spm_session *, int number);
void spm_kvtxn_rollback_to(spm_session *, int number);

/* A serializable transaction has read this. */
int spm_kvtxn_has_read(spm_session *, const spm_named *, const spm_range *) SPM_MUST_CHECK;

#endif
