/*
** names.h - which store a person means.
*/
#ifndef SPM_NAMES_H
#define SPM_NAMES_H

#include "../vfs/store/store.h"

/* The file behind a schema of the connection ("main", "aux"), a pmemkv table, or a path
** as it is.  From sqlite3_malloc; NULL: out of memory. */
char *spm_name_path(sqlite3 *, const char *name);

#endif
