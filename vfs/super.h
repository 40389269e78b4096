/*
** super.h - a part in a commit of several databases (S20).
**
** SQLite commits such a transaction by deleting its super-journal.  Before a database
** here is prepared, a *stub* goes beside it, X-journal: its first byte is 0, so that
** SQLite never takes it for a hot journal, and it ends in SQLite's own trailer with
** the super-journal's name, so that the recovery of another database in the
** transaction does not delete the super-journal while this one still needs it:
**
**     OFFSET       SIZE  MEANING
**     0            512   zero
**     512          4     SQLite's PAGER_MJ_PGNO place, zero here
**     516          n     the name, without a terminator
**     516 + n      4     n, big-endian
**     520 + n      4     sum of the name's bytes, big-endian
**     524 + n      8     SQLite's journal magic
*/
#ifndef SPM_SUPER_H
#define SPM_SUPER_H

#include "store/error.h"

#include <stdbool.h>

/* The VFS that reads and writes journals; before any other call. */
void spm_super_parent(sqlite3_vfs *);
/* Write the stub beside `path`, durable with its name when this returns. */
int spm_super_stub(const char *path, const char *super) SPM_MUST_CHECK;
/* Host functions of the store: is the transaction committed?  Clean up after it. */
int spm_super_decide(const char *path, const char *super, bool *committed);
int spm_super_settled(const char *path, const char *super);
/* Clean up after a stub that a crash left, if there is one. */
int spm_super_sweep(const char *path) SPM_MUST_CHECK;

#endif
