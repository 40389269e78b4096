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

static int load(sqlite3 *db, char **error, bool make_default) {
  if (sqlite3_libversion_number() < SQLITE_VERSION_LEAST) {
    if (error != NULL)
      *error = sqlite3_mprintf("pmem needs SQLite 3.38.0 or later, this is %s", sqlite3_libversion());
    return SQLITE_ERROR;
  }
  int rc = spm_vfs_register(make_default);
  if (rc == SQLITE_OK) rc = sqlite3_auto_extension((void (*)(void))connection_opened);
  if (rc == SQLITE_OK) rc = add_to(db); /* which is open already */
  return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}

int sqlite3_pmem_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  SQLITE_EXTENSION_INIT2(api);
  return load(db, error, false);
}

int sqlite3_pmemdefault_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  SQLITE_EXTENSION_INIT2(api);
  return load(db, error, true);
}
