/*
** files.h - the open database files of this process.
**
** SQLite asks the VFS about journals and WALs by name, with the very string it made
** when it opened the database: so a question about one of ours is recognized by the
** string's address, and every other file gets the truth from the parent VFS.
*/
#ifndef SPM_FILES_H
#define SPM_FILES_H

#include "dbfile.h"

void spm_files_add(spm_dbfile *);
void spm_files_remove(spm_dbfile *);
/* The file whose journal or WAL SQLite calls by this very string; NULL: nobody's. */
spm_dbfile *spm_files_by_name(const char *name);
/* Call `visit` for every file of the same connection, this one included. */
void spm_files_siblings(spm_dbfile *, void (*visit)(spm_dbfile *, spm_dbfile *origin));

#endif
