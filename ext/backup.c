/*
** backup.c - see backup.h.
*/
#include "backup.h"

#include "answer.h"
#include "names.h"
#include "pulse.h"

#define PAGES_A_STEP 256 /* between two looks whether to stop */

/* Source and target are connections of this call.  The source's read transaction holds
** one snapshot for all steps: writers go on, and no step begins anew. */
static int copy_pages(spm_pulse *pulse, sqlite3 *from, sqlite3 *to, int *pages) {
  sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
  if (backup == NULL) return sqlite3_errcode(to);
  int rc;
  do rc = spm_pulse_stopped(pulse) ? SQLITE_INTERRUPT : sqlite3_backup_step(backup, PAGES_A_STEP);
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
static int backup_database(spm_pulse *pulse, const char *path, const char *target, int *pages) {
  sqlite3 *from = NULL, *to = NULL;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE;
  int rc = sqlite3_open_v2(path, &from, flags, "pmem");
  if (rc == SQLITE_OK) rc = sqlite3_open_v2(target, &to, flags | SQLITE_OPEN_CREATE, "unix");
  if (rc == SQLITE_OK) rc = refuse_existing(to, target);
  if (rc == SQLITE_OK) rc = sqlite3_exec(from, "BEGIN; SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
  if (rc == SQLITE_OK) rc = copy_pages(pulse, from, to, pages);
  if (rc != SQLITE_OK && rc != SQLITE_CANTOPEN)
    rc = spm_error(rc, "backing %s up to %s: %s", path, target, rc == SQLITE_INTERRUPT ? "interrupted" : sqlite3_errstr(rc));
  (void)sqlite3_close(from);
  (void)sqlite3_close(to);
  return rc;
}

void spm_backup(sqlite3_context *context, int argc, sqlite3_value **argv) {
  (void)argc;
  const char *name = spm_argument_text(context, argv[0], "a schema or a path");
  const char *target = name ? spm_argument_text(context, argv[1], "a file to copy to") : NULL;
  if (target == NULL) return;
  sqlite3 *user = sqlite3_context_db_handle(context);
  char *path = spm_name_path(user, name);
  spm_pulse pulse;
  spm_pulse_begin(&pulse, user);
  int pages = 0, rc = path ? backup_database(&pulse, path, target, &pages) : SQLITE_NOMEM;
  spm_pulse_end(&pulse);
  sqlite3_free(path);
  spm_answer_number(context, rc, (uint64_t)pages);
}
