/*
** functions.c - see functions.h.
*/
#include "functions.h"

#include "answer.h"
#include "backup.h"
#include "kv/kvcheck.h"
#include "kv/session.h"
#include "names.h"
#include "pulse.h"

#include <stdbool.h>

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
  const char *name = argc > 0 ? spm_argument_text(context, argv[0], "a schema, a pmemkv table or a path") : "main";
  if (name == NULL) return;
  sqlite3 *db = sqlite3_context_db_handle(context);
  char *path = spm_name_path(db, name);
  uint64_t lsn = 0;
  spm_pulse pulse;
  spm_pulse_begin(&pulse, db);
  int rc = path ? spm_store_checkpoint(path, spm_pulse_stopped, &pulse, &lsn) : SQLITE_NOMEM;
  spm_pulse_end(&pulse);
  sqlite3_free(path);
  spm_answer_number(context, rc, lsn);
}

static void flush(sqlite3_context *context, int argc, sqlite3_value **argv) {
  const char *name = argc > 0 ? spm_argument_text(context, argv[0], "a schema, a pmemkv table or a path") : "main";
  if (name == NULL) return;
  char *path = spm_name_path(sqlite3_context_db_handle(context), name);
  uint64_t lsn = 0;
  int rc = path ? spm_store_flush(path, &lsn) : SQLITE_NOMEM;
  sqlite3_free(path);
  spm_answer_number(context, rc, lsn);
}

/* ------------------------------------------------------------------ deciding -- */

static void resolve(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc;
  const char *name = spm_argument_text(context, argv[0], "the path of a key-value store");
  const char *word = name ? spm_argument_text(context, argv[1], "'commit' or 'rollback'") : NULL;
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
    spm_answer_error(context, rc);
}

/* ------------------------------------------------------- check and shrink -- */

#define FAULTS_TOLD 100 /* the others are as many as one likes */

typedef struct findings {
  sqlite3_str *text;
  int count;
} findings;

static void add_line(findings *f, const char *line) {
  if (f->count++ > 0) sqlite3_str_appendchar(f->text, 1, '\n');
  sqlite3_str_appendall(f->text, line);
}

static bool tell(void *argument, const char *line) {
  findings *f = argument;
  add_line(f, line);
  return f->count < FAULTS_TOLD;
}

/* SQLITE_CORRUPT has been told line by line, or is what kept the store from opening. */
static int check_store(sqlite3 *db, const char *path, findings *f) {
  spm_kv *kv = NULL;
  spm_kv_options options = {0};
  int rc = spm_kv_open(path, &options, &kv);
  spm_pulse pulse;
  spm_pulse_begin(&pulse, db);
  if (rc == SQLITE_OK) {
    spm_kv_watch(kv, spm_pulse_stopped, &pulse);
    rc = spm_kv_check(kv, tell, f);
  }
  spm_kv_close(kv, false);
  spm_pulse_end(&pulse);
  if (rc == SQLITE_CORRUPT && f->count == 0) add_line(f, spm_last_error());
  if (rc == SQLITE_OK) add_line(f, "ok");
  return rc == SQLITE_CORRUPT ? SQLITE_OK : rc;
}

static int check_database(sqlite3 *db, const char *schema, findings *f) {
  sqlite3_stmt *stmt = NULL;
  char *sql = sqlite3_mprintf("PRAGMA \"%w\".integrity_check", schema);
  int rc = sql ? sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) : SQLITE_NOMEM;
  sqlite3_free(sql);
  while (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
    const char *line = (const char *)sqlite3_column_text(stmt, 0);
    add_line(f, line ? line : "");
  }
  int ended = sqlite3_finalize(stmt);
  if (rc == SQLITE_OK) rc = ended;
  return rc == SQLITE_OK || rc == SQLITE_NOMEM ? rc : spm_error(rc, "%s", sqlite3_errmsg(db));
}

/* One in memory has an empty file name. */
static bool is_schema(sqlite3 *db, const char *name) { return sqlite3_db_filename(db, name) != NULL; }

/* "ok", or what is wrong, a line each. */
static void check(sqlite3_context *context, int argc, sqlite3_value **argv) {
  sqlite3 *db = sqlite3_context_db_handle(context);
  const char *name = argc > 0 ? spm_argument_text(context, argv[0], "a schema, a pmemkv table or a path") : "main";
  if (name == NULL) return;
  findings f = {.text = sqlite3_str_new(db)};
  char *path = is_schema(db, name) ? NULL : spm_name_path(db, name);
  int rc = path ? check_store(db, path, &f) : is_schema(db, name) ? check_database(db, name, &f) : SQLITE_NOMEM;
  sqlite3_free(path);
  char *text = sqlite3_str_finish(f.text);
  if (rc == SQLITE_OK && text == NULL) rc = SQLITE_NOMEM;
  if (rc == SQLITE_OK)
    sqlite3_result_text(context, text, -1, SQLITE_TRANSIENT);
  else
    spm_answer_error(context, rc);
  sqlite3_free(text);
}

static int shrink_store(sqlite3 *db, const char *path, uint64_t *bytes) {
  spm_kv *kv = NULL;
  spm_pulse pulse;
  uint64_t used;
  spm_kv_options options = {0};
  int rc = spm_kv_open(path, &options, &kv);
  spm_pulse_begin(&pulse, db);
  if (rc == SQLITE_OK) {
    spm_kv_watch(kv, spm_pulse_stopped, &pulse);
    rc = spm_kv_shrink(kv);
  }
  spm_pulse_end(&pulse);
  if (rc == SQLITE_BUSY) rc = spm_error(rc, "%s is busy: another transaction is being committed", path);
  if (rc == SQLITE_OK) rc = spm_kv_snapshot_begin(kv);
  if (rc == SQLITE_OK) rc = spm_kv_size(kv, bytes, &used);
  spm_kv_close(kv, false);
  return rc;
}

/* The bytes that the store's file has afterwards. */
static void shrink(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc;
  uint64_t bytes = 0;
  const char *name = spm_argument_text(context, argv[0], "a pmemkv table or a path");
  if (name == NULL) return;
  sqlite3 *db = sqlite3_context_db_handle(context);
  char *path = spm_name_path(db, name);
  int rc = path ? shrink_store(db, path, &bytes) : SQLITE_NOMEM;
  sqlite3_free(path);
  spm_answer_number(context, rc, bytes);
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
    {"pmem_flush", 0, flush},
    {"pmem_flush", 1, flush},
    {"pmem_backup", 2, spm_backup},
    {"pmem_resolve", 2, resolve},
    {"pmem_check", 0, check},
    {"pmem_check", 1, check},
    {"pmem_shrink", 1, shrink},
};

int spm_functions_register(sqlite3 *db) {
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < sizeof functions / sizeof *functions; i++)
    rc = sqlite3_create_function_v2(db, functions[i].name, functions[i].arguments, SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL,
                                    functions[i].call, NULL, NULL, NULL);
  return rc;
}
