/*
** names.c - see names.h.
*/
#include "names.h"

#include <stddef.h>

char *spm_name_path(sqlite3 *db, const char *name) {
  const char *file = sqlite3_db_filename(db, name);
  return sqlite3_mprintf("%s", file != NULL && file[0] != 0 ? file : name);
}
