/*
** schemas.c - see schemas.h.
*/
#include "schemas.h"

#include "../../vfs/vfs.h"

#include <string.h>

#define FORMAT_AT 18 /* byte of the header; 2: WAL */
#define TEMP 1       /* number of the schema */

/* -------------------------------------------------------------- patience -- */

bool spm_patience_wait(spm_patience *p) {
  if (p->left_ms < 0) {
    sqlite3_stmt *statement = NULL;
    p->left_ms = 0;
    if (sqlite3_prepare_v2(p->db, "PRAGMA busy_timeout", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
      p->left_ms = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
  }
  if (p->left_ms <= 0) return false;
  (void)sqlite3_sleep(1);
  p->left_ms--;
  return true;
}

/* --------------------------------------------------------------- schemas -- */

/* NULL: there are no more, or, before 3.39, none that SQLite tells of besides `main`. */
static const char *schema_name(sqlite3 *db, int i) {
  if (i == 0) return "main";
  return sqlite3_libversion_number() >= 3039000 ? sqlite3_db_name(db, i) : NULL;
}

/* The open file of a schema that is being written and can survive a crash. */
static sqlite3_file *written_file(sqlite3 *db, const char *schema) {
  sqlite3_file *file = NULL;
  if (sqlite3_txn_state(db, schema) != SQLITE_TXN_WRITE) return NULL;
  if (sqlite3_file_control(db, schema, SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK) return NULL;
  if (file == NULL || file->pMethods == NULL) return NULL;
  const char *path = sqlite3_db_filename(db, schema);
  return path != NULL && path[0] != 0 ? file : NULL;
}

static bool in_wal_mode(sqlite3_file *file) {
  uint8_t format[2] = {0};
  return file->pMethods->xRead(file, format, sizeof format, FORMAT_AT) == SQLITE_OK && format[0] == 2 && format[1] == 2;
}

int spm_schemas_lock(sqlite3 *db, spm_patience *patience) {
  const char *schema;
  for (int i = 0; (schema = schema_name(db, i)) != NULL; i++) {
    sqlite3_file *file = i != TEMP ? written_file(db, schema) : NULL;
    /* Who writes on this library's own VFS has all the lock there is. */
    if (file == NULL || spm_vfs_owns(file) || in_wal_mode(file)) continue;
    int rc;
    do rc = file->pMethods->xLock(file, SQLITE_LOCK_EXCLUSIVE);
    while (rc == SQLITE_BUSY && spm_patience_wait(patience));
    if (rc == SQLITE_BUSY) return spm_error(rc, "database is locked");
    if (rc != SQLITE_OK) return spm_error(rc, "locking %s: %s", schema, sqlite3_errstr(rc));
  }
  return SQLITE_OK;
}

/* ------------------------------------------------------------------ changes -- */

/* A pager opens its journal with the first page it changes; where it stays open between
** transactions, or is none at all, that tells nothing.  In WAL mode SQLite answers with the
** WAL, which is open always. */
static bool journal_open(sqlite3 *db, const char *schema) {
  sqlite3_file *journal = NULL;
  (void)sqlite3_file_control(db, schema, SQLITE_FCNTL_JOURNAL_POINTER, &journal);
  return journal != NULL && journal->pMethods != NULL;
}

static int first_text(sqlite3 *db, const char *format, const char *schema, char text[16]) {
  sqlite3_stmt *statement = NULL;
  char *sql = sqlite3_mprintf(format, schema);
  int rc = sql ? sqlite3_prepare_v2(db, sql, -1, &statement, NULL) : SQLITE_NOMEM;
  sqlite3_free(sql);
  text[0] = 0;
  if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
    (void)sqlite3_snprintf(16, text, "%s", (const char *)sqlite3_column_text(statement, 0));
  int ended = sqlite3_finalize(statement);
  return rc == SQLITE_OK ? ended : rc;
}

/* In WAL mode and without a journal nothing shows whether pages were changed.  Another
** module's table may change some in its own xSync, which may come after this one: FTS5
** without content does. */
static int may_change(sqlite3 *db, const char *schema, bool *changes) {
  char mode[16], other[16];
  int rc = first_text(db, "PRAGMA \"%w\".journal_mode", schema, mode);
  *changes = rc == SQLITE_OK && (strcmp(mode, "wal") == 0 || strcmp(mode, "off") == 0);
  if (rc != SQLITE_OK || *changes) return rc;
  rc = first_text(db,
                  "SELECT 'other' FROM \"%w\".sqlite_schema WHERE rootpage = 0 AND sql LIKE 'CREATE VIRTUAL TABLE%%'"
                  " AND sql NOT LIKE '%%USING pmemkv%%' LIMIT 1", schema, other);
  *changes = rc == SQLITE_OK && other[0] != 0;
  return rc;
}

int spm_schemas_changed(sqlite3 *db, bool alone, char **found) {
  const char *schema;
  *found = NULL;
  for (int i = 0; (schema = schema_name(db, i)) != NULL; i++) {
    bool changed;
    if (i == TEMP || written_file(db, schema) == NULL) continue;
    changed = journal_open(db, schema) && !in_wal_mode(written_file(db, schema));
    if (!changed && !alone) {
      int rc = may_change(db, schema, &changed);
      if (rc != SQLITE_OK) return spm_error(rc, "looking at schema %s: %s", schema, sqlite3_errmsg(db));
    }
    if (!changed) continue;
    *found = sqlite3_mprintf("%s", schema);
    return *found ? SQLITE_OK : SQLITE_NOMEM;
  }
  return SQLITE_OK;
}

bool spm_schemas_unlinks(sqlite3 *db, const char *schema) {
  sqlite3_file *file = written_file(db, schema);
  return file != NULL && !spm_vfs_owns(file) && !in_wal_mode(file);
}

int spm_schemas_file(sqlite3 *db, const char *schema, const char **vfs, const char **path) {
  sqlite3_vfs *at = NULL;
  int rc = sqlite3_file_control(db, schema, SQLITE_FCNTL_VFS_POINTER, &at);
  if (rc != SQLITE_OK || at == NULL) return spm_error(SQLITE_ERROR, "schema %s has no VFS", schema);
  *vfs = at->zName;
  *path = sqlite3_db_filename(db, schema);
  return SQLITE_OK;
}
