/*
** ddl.h - trees made, dropped and renamed as part of a SQL transaction (K3).
**
** SQLite calls xCreate, xDestroy and xRename at once, whatever becomes of the transaction.
** If its end will be told (anchor.h), they are *pending* here: a list in the order in which
** they came, which the commit carries out in the store before the write set, in the same
** commit, and which a rollback takes back from its end, as far as a savepoint.
**
** Until then the store knows nothing of them, and a tree is found by the name that it has
** there:
**
**     MADE     `fresh`: there is nothing to be found, it is empty but for the write set
**     RENAMED  `origin` is its name in the store
**     DROPPED  `dropped`: its name is free, and another tree may be made under it
**
** If the end will not be told, each is a transaction of its own on the store, at once.
**
** Called by table.c and, for what is pending, by kvtxn.c; under the connection's mutex.
*/
#ifndef SPM_KV_DDL_H
#define SPM_KV_DDL_H

#include "session.h"

/* `pending`: the session's transaction has begun, and its end will be told.  SQLITE_BUSY,
** if not: somebody writes. */
int spm_ddl_create(spm_session *, spm_named *, bool pending) SPM_MUST_CHECK;
int spm_ddl_drop(spm_session *, spm_named *, bool pending) SPM_MUST_CHECK;
int spm_ddl_rename(spm_session *, spm_named *, const char *to, bool pending) SPM_MUST_CHECK;

/* Carry out what is pending, as the store's writer. */
int spm_ddl_apply(spm_session *, spm_kv *) SPM_MUST_CHECK;
/* It is committed in the store, by the LSN at least. */
void spm_ddl_committed(spm_session *, uint64_t lsn);
/* Take back all but the first `count`. */
void spm_ddl_rollback(spm_session *, uint32_t count);

#endif
