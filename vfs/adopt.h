/*
** adopt.h - how a database file comes under the store, and leaves it again (S2, V6).
**
** Attaching happens at the pager's first SHARED lock.  Stock SQLite's own lock bytes
** keep the two worlds apart: who looks at a header holds SHARED through the parent
** VFS, who stamps or unstamps holds EXCLUSIVE; so a header that was seen stamped
** stays stamped while it is being joined.
**
** What stock SQLite left behind (a hot journal, a WAL) is recovered by SQLite itself,
** on a connection of its own to the parent VFS.
*/
#ifndef SPM_ADOPT_H
#define SPM_ADOPT_H

#include "dbfile.h"

/* Attach the file, or let it pass (passthrough.h; the parent's SHARED lock is kept
** then).  SQLITE_BUSY where waiting may help. */
int spm_attach(spm_dbfile *) SPM_MUST_CHECK;
/* Give the attachment up; the last one turns the file back into an ordinary one. */
void spm_detach(spm_dbfile *);

#endif
