/*
** together.h - one COMMIT for everything a SQLite connection has changed: keys of its
** stores, and tables of its databases, of whatever VFS (K1, K2).
**
** SQLite calls xSync of each table before it commits its own databases, and xCommit
** afterwards.  The first xSync does the work for all stores of the connection:
**
**   1  take the EXCLUSIVE lock of every stock database that SQLite is about to commit.
**      It would take it after xSync, and its SQLITE_BUSY would send the user away with
**      the stores' locks held; this way COMMIT is refused before anything is locked
**   2  each store: lock, validate, put the write set into its trees (kvtxn.h); in the
**      order of their ids, so that no two transactions wait for each other
**   3  with one store and nothing else changed: its commit is the transaction's, and durable here.
**      With tables changed: a row in their database decides, every store is prepared.
**      With several stores only: a key in the first one decides, the others are prepared
**
** From there to xCommit or xRollback control does not return to the user.  A crash in
** between leaves prepared stores, which ask the one that decides (decision.h).
**
**     CRASH                               DATABASE          STORES
**     before all stores are prepared      rolls back        their prepared records find no row
**     prepared, database not committed    rolls back        the same
**     database committed                  has the row       commit
**     some stores committed               has the row       the rest commit
**
** xRollback of a prepared store asks too: the database may have committed although SQLite
** reports an error.
*/
#ifndef SPM_TOGETHER_H
#define SPM_TOGETHER_H

#include "session.h"

int spm_together_sync(spm_session *) SPM_MUST_CHECK;
/* Its result reaches nobody but the error log: SQLite has decided by then. */
int spm_together_commit(spm_session *);
void spm_together_rollback(spm_session *);

#endif
