/*
** functions.h - SQL functions that show and steer: pmem_version(), pmem_debug(), ...
*/
#ifndef SPM_FUNCTIONS_H
#define SPM_FUNCTIONS_H

#include "../vfs/store/store.h"

/* Make the functions known to a connection. */
int spm_functions_register(sqlite3 *) SPM_MUST_CHECK;

#endif
