/*
** names.c - see names.h.
*/
#include "names.h"

#include "kv/table.h"

#include <stddef.h>

char *spm_name_path(sqlite3 *db, const char *name) {
  char *path = NULL;
  const char *file = sqlite3_db_filename(db, name);
  if (file != NULL && file[0] != 0) return sqlite3_mprintf("%s", file);
  int rc = spm_table_path(db, name, &path);
  return rc == SQLITE_NOTFOUND ? sqlite3_mprintf("%s", name) : path;
}
