/*
** backup.h - pmem_backup(name, target): one snapshot, copied while writers go on.
*/
#ifndef SPM_BACKUP_H
#define SPM_BACKUP_H

#include "../vfs/store/store.h"

/* The SQL function. */
void spm_backup(sqlite3_context *, int argc, sqlite3_value **argv);

#endif
