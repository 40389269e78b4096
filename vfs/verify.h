/*
** verify.h - recovery=full: SQLite's own check of a database, before it is handed over.
**
** The file is attached, and the store answers BUSY to whoever else comes; except to the
** connection that is opened here for the check, on the same thread.
*/
#ifndef SPM_VERIFY_H
#define SPM_VERIFY_H

#include "store/error.h"

#include <stdbool.h>

/* SQLITE_CORRUPT: *finding is the first thing that is wrong; other errors: why it could not
** be looked at.  From sqlite3_malloc, NULL if there is nothing to say. */
int spm_verify(const char *path, char **finding) SPM_MUST_CHECK;
/* Is this thread in the middle of that? */
bool spm_verifying(void);

#endif
