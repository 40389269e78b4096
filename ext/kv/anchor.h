/*
** anchor.h - how the end of a transaction is learned that SQLite would not tell of (K3).
**
** A virtual table is told of the end of a transaction that has written to it, and of no
** other: not of one that only read; not of one that dropped the table, for its object is
** gone by then; and one that made it is not told when a savepoint from before is rolled back.
** So a connection that uses such tables has one more, temp.pmemkv_anchor, without rows.
** To *cast* it is to write no row to it: SQLite then calls its xBegin, and from there on all
** of its savepoints, and xSync, xCommit or xRollback, which it passes on to the sessions that
** asked for them.  They are *anchored* until then, and do not go before.
**
**     DDL              always: CREATE, DROP and RENAME are pending (ddl.h)
**     reading          in an explicit transaction that has not written: the first read begins
**                      the session's transaction, with its snapshot and its read set
**     everything else  never; a get or put by itself costs what it did
**
** Why in `temp`.  A statement that writes to a virtual table takes the write lock of the
** schema it is in (sqlite3Insert() calls sqlite3BeginWriteOperation() for it), which for
** `main` would shut out every other writer, to read.  An eponymous table, which needs no
** CREATE, is in `main` (sqlite3VtabEponymousTableInit(): "pTab->pSchema = db->aDb[0].pSchema").
** The schema `temp` belongs to the connection and locks out nobody.
**
** Why no row.  OP_VBegin comes before the first row, and changes() of a statement without a
** row is 0.  That is still a change of changes(), which SQLite lets nobody set back: the
** first read of a transaction leaves it 0.
**
** When it is made.  CREATE VIRTUAL TABLE expires the connection's statements, and those that
** run must not open another cursor after that (OP_OpenRead: SQLITE_ABORT_ROLLBACK).  So it is
** made where no statement runs, or in DDL: after xCreate and xDestroy the statement opens no
** cursor, and after xRename SQLite clears the mark.  (CREATE expires the others itself; one that
** runs while a DROP has to make the anchor may have to be run again.)  A table that is made is
** in the transaction without xBegin, and is not told of savepoints from before; casting it in
** addition has it told of the statement's, which stands above those.
**
** The statement that casts is prepared once and kept, as FTS5 and R*Tree keep theirs, and so
** seen by sqlite3_next_stmt().  It goes with the connection's last session, before SQLite
** looks for statements that would keep the connection from being closed.
**
** Where it cannot be had, with PRAGMA query_only, in another table's xSync, or because an
** authorizer forbids it, all is as without: DDL takes effect at once, and each statement
** reads a snapshot of its own.
**
** After ROLLBACK TO a savepoint from before it was made there can be two for one connection,
** of which both are called: all that they do can be done twice (K4).
*/
#ifndef SPM_KV_ANCHOR_H
#define SPM_KV_ANCHOR_H

#include "session.h"

int spm_anchor_register(sqlite3 *) SPM_MUST_CHECK;

/* A table is connected, so the schema was read, or read again, maybe without the anchor's. */
void spm_anchor_doubt(sqlite3 *);
/* A statement that reads is being prepared: have one then, if this is the moment. */
void spm_anchor_prepare(sqlite3 *);
/* A statement is about to read.  Its transaction begins here, if it is an explicit one. */
int spm_anchor_read(spm_session *) SPM_MUST_CHECK;
/* The same for DDL, of any transaction.  *held: its end will be told. */
int spm_anchor_hold(spm_session *, bool *held) SPM_MUST_CHECK;
/* A session has gone, perhaps the last one of the connection. */
void spm_anchor_rest(sqlite3 *);

#endif
