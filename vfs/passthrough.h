/*
** passthrough.h - files that the parent VFS serves, and files that nobody serves.
**
** A database that may only be read and carries no stamp, or that is none of ours, is
** SQLite's own business: locks, journal, WAL and all.  Only one thing is refused:
** the RESERVED lock, with SQLITE_READONLY.
*/
#ifndef SPM_PASSTHROUGH_H
#define SPM_PASSTHROUGH_H

#include "dbfile.h"

/* Serve the file from the parent until the pager gives up its lock, or for good if
** it never takes one.  `why`, for the log: NULL if it was asked for (mode=ro). */
void spm_pass(spm_dbfile *, const char *why);
bool spm_passing(const spm_dbfile *);

/* Refuse everything, with the thread's last error as the reason. */
void spm_refuse(spm_dbfile *);

extern const sqlite3_io_methods spm_pass_methods, spm_refused_methods;

#endif
