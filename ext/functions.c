/*
** functions.c - see functions.h.
*/
#include "functions.h"

#include "kv/session.h"
#include "names.h"

#include <stdbool.h>

static void fail(sqlite3_context *context, int rc) {
  if (rc == SQLITE_NOMEM) {
    sqlite3_result_error_nomem(context);
    return;
  }
  sqlite3_result_error(context, spm_last_error(), -1);
  sqlite3_result_error_code(context, rc);
}

/* The text of an argument; NULL (and an error) if there is none. */
static const char *text_of(sqlite3_context *context, sqlite3_value *value, const char *what) {
  const char *text = (const char *)sqlite3_value_text(value);
  if (text != NULL) return text;
  char *message = sqlite3_mprintf("%s must be given", what);
  sqlite3_result_error(context, message ? message : "an argument is missing", -1);
  sqlite3_free(message);
  return NULL;
}

static void version(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc, (void)argv;
  sqlite3_result_text(context, SPM_VERSION, -1, SQLITE_STATIC);
}

static void debug(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc, (void)argv;
  char platform[256];
  spm_store_platform(platform, sizeof platform);
  char *text = sqlite3_mprintf("pmem %s; compiler " __VERSION__ "%s; SQLite %s; %s", SPM_VERSION,
#ifdef __OPTIMIZE__
                               "",
#else
                               ", not optimized",
#endif
                               sqlite3_libversion(), platform);
  sqlite3_result_text(context, text, -1, sqlite3_free);
}

static void checkpoint(sqlite3_context *context, int argc, sqlite3_value **argv) {
  const char *name = argc > 0 ? text_of(context, argv[0], "a schema, a pmemkv table or a path") : "main";
  if (name == NULL) return;
  char *path = spm_name_path(sqlite3_context_db_handle(context), name);
  uint64_t lsn;
  int rc = path ? spm_store_checkpoint(path, &lsn) : SQLITE_NOMEM;
  sqlite3_free(path);
  if (rc == SQLITE_OK)
    sqlite3_result_int64(context, (sqlite3_int64)lsn);
  else
    fail(context, rc);
}

/* ------------------------------------------------------------------- backup -- */

#define BACKUP_PAGES 4096 /* between two looks at the interrupt flag */

/* A nested statement stops for sqlite3_interrupt() and runs the progress handler. */
static bool interrupted(sqlite3 *user) {
  return sqlite3_exec(user, "SELECT 1", NULL, NULL, NULL) == SQLITE_INTERRUPT;
}

/* Source and target are connections of this call.  The source's read transaction holds
** one snapshot for all steps: writers go on, and no step begins anew. */
static int copy_pages(sqlite3 *user, sqlite3 *from, sqlite3 *to, int *pages) {
  sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
  if (backup == NULL) return sqlite3_errcode(to);
  int rc;
  do rc = interrupted(user) ? SQLITE_INTERRUPT : sqlite3_backup_step(backup, BACKUP_PAGES);
  while (rc == SQLITE_OK);
  *pages = sqlite3_backup_pagecount(backup);
  int finished = sqlite3_backup_finish(backup);
  return rc == SQLITE_DONE ? finished : rc;
}

static int refuse_existing(sqlite3 *to, const char *target) {
  int count = 0;
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(to, "SELECT count(*) FROM sqlite_schema", -1, &statement, NULL);
  if (rc != SQLITE_OK) return spm_error(SQLITE_CANTOPEN, "%s: %s", target, sqlite3_errmsg(to));
  if (sqlite3_step(statement) == SQLITE_ROW) count = sqlite3_column_int(statement, 0);
  rc = sqlite3_finalize(statement);
  if (rc != SQLITE_OK) return spm_error(SQLITE_CANTOPEN, "%s: %s", target, sqlite3_errmsg(to));
  return count == 0 ? SQLITE_OK : spm_error(SQLITE_CANTOPEN, "%s is there already, and not empty", target);
}

/* The source's own VFS is not known here; `pmem` passes what is none of its files.  The
** target is an ordinary file on the stock VFS, journal mode and all. */
static int backup_database(sqlite3 *user, const char *path, const char *target, int *pages) {
  sqlite3 *from = NULL, *to = NULL;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE;
  int rc = sqlite3_open_v2(path, &from, flags, "pmem");
  if (rc == SQLITE_OK) rc = sqlite3_open_v2(target, &to, flags | SQLITE_OPEN_CREATE, "unix");
  if (rc == SQLITE_OK) rc = refuse_existing(to, target);
  if (rc == SQLITE_OK) rc = sqlite3_exec(from, "BEGIN; SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
  if (rc == SQLITE_OK) rc = copy_pages(user, from, to, pages);
  if (rc != SQLITE_OK && rc != SQLITE_CANTOPEN)
    rc = spm_error(rc, "backing %s up to %s: %s", path, target, rc == SQLITE_INTERRUPT ? "interrupted" : sqlite3_errstr(rc));
  (void)sqlite3_close(from);
  (void)sqlite3_close(to);
  return rc;
}

static void backup(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc;
  const char *name = text_of(context, argv[0], "a schema or a path");
  const char *target = name ? text_of(context, argv[1], "a file to copy to") : NULL;
  if (target == NULL) return;
  sqlite3 *user = sqlite3_context_db_handle(context);
  char *path = spm_name_path(user, name);
  int pages = 0, rc = path ? backup_database(user, path, target, &pages) : SQLITE_NOMEM;
  sqlite3_free(path);
  if (rc == SQLITE_OK)
    sqlite3_result_int(context, pages);
  else
    fail(context, rc);
}

/* ------------------------------------------------------------------ deciding -- */

static void resolve(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc;
  const char *name = text_of(context, argv[0], "the path of a key-value store");
  const char *word = name ? text_of(context, argv[1], "'commit' or 'rollback'") : NULL;
  if (word == NULL) return;
  bool asked = false, commit = sqlite3_stricmp(word, "commit") == 0;
  if (!commit && sqlite3_stricmp(word, "rollback") != 0) {
    sqlite3_result_error(context, "a transaction in doubt is settled by 'commit' or 'rollback'", -1);
    return;
  }
  char *path = spm_session_canonical(name);
  int rc = path ? spm_decision_settle(path, commit, &asked) : SQLITE_NOMEM;
  sqlite3_free(path);
  if (rc == SQLITE_OK)
    sqlite3_result_text(context, !asked ? "nothing was in doubt" : commit ? "committed" : "rolled back", -1, SQLITE_STATIC);
  else
    fail(context, rc);
}

/* ---------------------------------------------------------------- the table -- */

static const struct {
  const char *name;
  int arguments;
  void (*call)(sqlite3_context *, int, sqlite3_value **);
} functions[] = {
    {"pmem_version", 0, version},
    {"pmem_debug", 0, debug},
    {"pmem_checkpoint", 0, checkpoint},
    {"pmem_checkpoint", 1, checkpoint},
    {"pmem_backup", 2, backup},
    {"pmem_resolve", 2, resolve},
};

int spm_functions_register(sqlite3 *db) {
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < sizeof functions / sizeof *functions; i++)
    rc = sqlite3_create_function_v2(db, functions[i].name, functions[i].arguments, SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL,
                                    functions[i].call, NULL, NULL, NULL);
  return rc;
}
