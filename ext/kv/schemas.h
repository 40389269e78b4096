/*
** schemas.h - what a connection's transaction has done to SQLite's own databases.
**
** Asked from xSync, when SQLite is about to commit them.  The schema `temp` never counts:
** nothing of it survives, and no more do databases in memory.
*/
#ifndef SPM_SCHEMAS_H
#define SPM_SCHEMAS_H

#include "../../vfs/store/store.h"

/* How long the user lets SQLite wait for locks (PRAGMA busy_timeout); asked for at the
** first wait.  A busy handler of his own cannot be called from here. */
typedef struct spm_patience {
  sqlite3 *db;
  int left_ms; /* -1: not asked for yet */
} spm_patience;

/* Sleep for a moment; false: he has waited long enough. */
bool spm_patience_wait(spm_patience *);

/* Take the EXCLUSIVE lock of every stock database in rollback mode that is being written,
** as its commit would.  SQLITE_BUSY. */
int spm_schemas_lock(sqlite3 *, spm_patience *) SPM_MUST_CHECK;

/* The name of a schema whose database this transaction has changed, or may have; from
** sqlite3_malloc; NULL: none.  `alone`: it began with the statement that ends it, so no
** other statement was in it. */
int spm_schemas_changed(sqlite3 *, bool alone, char **schema) SPM_MUST_CHECK;

/* Will its commit end with the removal of a journal that SQLite does not sync away (it does
** so with synchronous=EXTRA only)?  Until its folder is synced, a power loss may bring the
** journal back and roll the database back. */
bool spm_schemas_unlinks(sqlite3 *, const char *schema);

/* The VFS and the path of a schema's database. */
int spm_schemas_file(sqlite3 *, const char *schema, const char **vfs, const char **path) SPM_MUST_CHECK;

#endif
