/*
** vfs.h - what the extension needs of the VFS `pmem`.
*/
#ifndef SPM_VFS_H
#define SPM_VFS_H

#include "store/error.h"

#include <stdbool.h>

/* Is the name pmem another's, that of a second copy of this library for instance? */
bool spm_vfs_taken(void);
/* Register the VFS on top of the process's present default one; a second call only
** changes which VFS is the default. */
int spm_vfs_register(bool make_default) SPM_MUST_CHECK;
/* Why the main database of a new connection was refused (sqlite3_malloc), or NULL. */
char *spm_vfs_refusal(sqlite3 *);

/* Is it a file of this VFS, under no other one? */
bool spm_vfs_owns(sqlite3_file *);

#endif
