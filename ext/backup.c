/*
** backup.c - see backup.h.
*/
#include "backup.h"

#include "answer.h"
#include "kv/kvstore.h"
#include "names.h"
#include "pulse.h"

#include <unistd.h>

#define PAGES_A_STEP 256 /* between two looks whether to stop */

/* ---------------------------------------------------------------- databases -- */

/* Source and target are connections of this call.  The source's read transaction holds
** one snapshot for all steps: writers go on, and no step begins anew. */
static int copy_pages(spm_pulse *pulse, sqlite3 *from, sqlite3 *to, uint64_t *pages) {
  sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
  if (backup == NULL) return sqlite3_errcode(to);
  int rc;
  do rc = spm_pulse_stopped(pulse) ? SQLITE_INTERRUPT : sqlite3_backup_step(backup, PAGES_A_STEP);
  while (rc == SQLITE_OK);
  *pages = (uint64_t)sqlite3_backup_pagecount(backup);
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

/* The target is an ordinary file on the stock VFS, journal mode and all. */
static int copy_to_file(spm_pulse *pulse, sqlite3 *from, const char *target, uint64_t *pages) {
  sqlite3 *to = NULL;
  bool there = access(target, F_OK) == 0;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_CREATE;
  int rc = sqlite3_open_v2(target, &to, flags, "unix");
  if (rc == SQLITE_OK) rc = refuse_existing(to, target);
  if (rc == SQLITE_OK) rc = copy_pages(pulse, from, to, pages);
  (void)sqlite3_close(to);
  if (rc != SQLITE_OK && !there) (void)unlink(target); /* it has been rolled back to nothing */
  return rc;
}

/* The source's own VFS is not known here; `pmem` passes what is none of its files.
** SQLITE_NOTADB: it is no database, and nothing was made. */
static int backup_database(spm_pulse *pulse, const char *path, const char *target, uint64_t *pages) {
  sqlite3 *from = NULL;
  int rc = sqlite3_open_v2(path, &from, SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE, "pmem");
  if (rc == SQLITE_OK) rc = sqlite3_exec(from, "BEGIN; SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
  if (rc == SQLITE_OK) rc = copy_to_file(pulse, from, target, pages);
  if (rc != SQLITE_OK && rc != SQLITE_CANTOPEN && rc != SQLITE_NOTADB)
    rc = spm_error(rc, "backing %s up to %s: %s", path, target, rc == SQLITE_INTERRUPT ? "interrupted" : sqlite3_errstr(rc));
  (void)sqlite3_close(from);
  return rc;
}

/* --------------------------------------------------------- key-value stores -- */

static int backup_store(spm_pulse *pulse, const char *path, const char *target, uint64_t *blocks) {
  spm_kv *kv = NULL;
  int rc = spm_kv_open(path, &(spm_kv_options){0}, &kv);
  if (rc == SQLITE_NOTADB) rc = spm_error(rc, "%s is neither a database nor a key-value store", path);
  if (rc != SQLITE_OK) return rc;
  spm_kv_watch(kv, spm_pulse_stopped, pulse);
  rc = spm_kv_copy(kv, target, blocks);
  spm_kv_close(kv, false);
  return rc;
}

/* -------------------------------------------------------------- the function -- */

/* SQLite looks first, for it knows how to look at a file that it has open itself: a
** key-value store is no database to it. */
static int backup_any(sqlite3 *user, const char *path, const char *target, uint64_t *pages) {
  spm_pulse pulse;
  spm_pulse_begin(&pulse, user);
  int rc = backup_database(&pulse, path, target, pages);
  if (rc == SQLITE_NOTADB) rc = backup_store(&pulse, path, target, pages);
  spm_pulse_end(&pulse);
  return rc;
}

void spm_backup(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc;
  const char *name = spm_argument_text(context, argv[0], "a schema, a pmemkv table or a path");
  const char *target = name ? spm_argument_text(context, argv[1], "a file to copy to") : NULL;
  if (target == NULL) return;
  sqlite3 *user = sqlite3_context_db_handle(context);
  char *path = spm_name_path(user, name);
  uint64_t pages = 0;
  int rc = path ? backup_any(user, path, target, &pages) : SQLITE_NOMEM;
  sqlite3_free(path);
  spm_answer_number(context, rc, pages);
}
