/*
** verify.c - see verify.h.
*/
#include "verify.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local bool verifying;

bool spm_verifying(void) { return verifying; }

/* A page that could not be had, for want of memory or for an I/O error, is a finding to
** SQLite as well; its text has the code. */
static int meaning(const char *finding) {
  static const char mark[] = "error code=";
  const char *at = strstr(finding, mark);
  int code = at != NULL ? atoi(at + sizeof mark - 1) & 0xff : SQLITE_CORRUPT;
  if (strcmp(finding, "ok") == 0) return SQLITE_OK;
  return code == SQLITE_NOMEM || code == SQLITE_IOERR ? code : SQLITE_CORRUPT;
}

/* The first row says "ok", or what is wrong. */
static int check(sqlite3 *db, char **finding) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &statement, NULL);
  if (rc != SQLITE_OK) return rc;
  if (sqlite3_step(statement) == SQLITE_ROW) {
    *finding = sqlite3_mprintf("%s", sqlite3_column_text(statement, 0));
    rc = *finding == NULL ? SQLITE_NOMEM : meaning(*finding);
  }
  int ended = sqlite3_finalize(statement);
  return rc == SQLITE_OK ? ended : rc;
}

/* Damage that SQLite meets before it can begin, in the schema say, is damage as well. */
int spm_verify(const char *path, char **finding) {
  sqlite3 *db = NULL;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOMUTEX;
  *finding = NULL;
  verifying = true;
  int rc = sqlite3_open_v2(path, &db, flags, "pmem");
  if (rc == SQLITE_OK) rc = check(db, finding);
  if (rc != SQLITE_OK && *finding == NULL) *finding = sqlite3_mprintf("%s", db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  (void)sqlite3_close(db);
  verifying = false;
  return (rc & 0xff) == SQLITE_NOTADB ? SQLITE_CORRUPT : rc & 0xff;
}
