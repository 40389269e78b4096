/*
** passthrough.h - files that the parent VFS serves, and files that nobody serves.
**
** A file whose header is none of ours (a shim's, a damaged one, a text) is SQLite's own
** business: locks, journal, WAL and all.  So is a database without a stamp that cannot
** be adopted, because it was opened read-only or its folder cannot be written to; but
** there the RESERVED lock is refused, with SQLITE_READONLY.
*/
#ifndef SPM_PASSTHROUGH_H
#define SPM_PASSTHROUGH_H

#include "dbfile.h"

/* Serve the file from the parent until the pager gives up its lock, or for good if
** it never takes one.  `why`, for the log: NULL if there is nothing to say. */
void spm_pass(spm_dbfile *, const char *why, bool writable);
bool spm_passing(const spm_dbfile *);

/* Refuse everything, with the thread's last error as the reason. */
void spm_refuse(spm_dbfile *);

extern const sqlite3_io_methods spm_pass_methods, spm_refused_methods;

#endif
