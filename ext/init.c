/*
** init.c - the entry points of the loadable extension.
**
** Loading registers the VFS `pmem` and an automatic extension for the connections
** opened afterwards.  The library stays loaded: its VFS must outlive the connection
** that loaded it.
*/
#include "sqlite3ext.h"
SQLITE_EXTENSION_INIT1

#include "../vfs/vfs.h"
#include "functions.h"
#include "kv/table.h"
#include "report.h"

#include <stddef.h>

#define SQLITE_VERSION_LEAST 3038000
#define EXPORT __attribute__((visibility("default")))

EXPORT int sqlite3_pmem_init(sqlite3 *, char **, const sqlite3_api_routines *);
EXPORT int sqlite3_pmemdefault_init(sqlite3 *, char **, const sqlite3_api_routines *);

/* What a connection has from here, whatever its database: module, tables, functions. */
static int add_to(sqlite3 *db) {
  int rc = spm_table_register(db);
  if (rc == SQLITE_OK) rc = spm_report_register(db);
  return rc == SQLITE_OK ? spm_functions_register(db) : rc;
}

/* Runs in every new connection.  It reports a database that was opened with options
** that make no sense, and otherwise succeeds: an error here would spoil every open.
** The empty statement leaves the connection without an error code (V10). */
static int connection_opened(sqlite3 *db, char **error, const struct sqlite3_api_routines *api) {
  (void)api;
  char *refusal = spm_vfs_refusal(db);
  if (refusal != NULL) {
    *error = refusal;
    return SQLITE_CANTOPEN;
  }
  int rc = add_to(db);
  if (rc == SQLITE_OK) (void)sqlite3_exec(db, "", NULL, NULL, NULL);
  return rc;
}

static bool for_another_sqlite(const sqlite3_api_routines *api) { return sqlite3_api != NULL && sqlite3_api != api; }

/* A second copy would open the same files with a registry of its own, and what it closes
** would take SQLite's locks from the first one.  A second SQLite in the process knows
** nothing of the locks of the first. */
static int refuse(const sqlite3_api_routines *api, char **error) {
  const char *what = for_another_sqlite(api)
                         ? "this library serves another SQLite library of this process"
                         : "another copy of this library, or another VFS named pmem, is loaded in this process";
  if (error != NULL) *error = api->mprintf("%s: use one only", what);
  return SQLITE_ERROR;
}

static int load(sqlite3 *db, char **error, bool make_default) {
  if (sqlite3_libversion_number() < SQLITE_VERSION_LEAST) {
    if (error != NULL)
      *error = sqlite3_mprintf("pmem needs SQLite 3.38.0 or later, this is %s", sqlite3_libversion());
    return SQLITE_ERROR;
  }
  if (spm_vfs_taken()) return refuse(sqlite3_api, error);
  int rc = spm_vfs_register(make_default);
  if (rc == SQLITE_OK) rc = sqlite3_auto_extension((void (*)(void))connection_opened);
  if (rc == SQLITE_OK) rc = add_to(db); /* which is open already */
  if (rc == SQLITE_BUSY) rc = SQLITE_OK; /* and has them: SELECT load_extension() once more */
  return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}

int sqlite3_pmem_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  if (for_another_sqlite(api)) return refuse(api, error);
  SQLITE_EXTENSION_INIT2(api);
  return load(db, error, false);
}

int sqlite3_pmemdefault_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  if (for_another_sqlite(api)) return refuse(api, error);
  SQLITE_EXTENSION_INIT2(api);
  return load(db, error, true);
}
