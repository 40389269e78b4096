/*
** sql.c - see sql.h.
*/
#include "sql.h"

#include "harness.h"

#include <stdlib.h>

void sql_check(sqlite3 *db, int rc) {
  if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW) return;
  bench_fail("%s", db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

void sql_load(sqlite3 *db, const char *variable) {
  const char *library = getenv(variable);
  char *error = NULL;
  if (library == NULL) bench_fail("%s must name the extension", variable);
  sql_check(db, sqlite3_enable_load_extension(db, 1));
  if (sqlite3_load_extension(db, library, NULL, &error) != SQLITE_OK) bench_fail("loading %s: %s", library, error);
}

sqlite3 *sql_open(const char *format, const char *folder, const char *pragmas) {
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
  sqlite3 *db;
  char *uri = sqlite3_mprintf(format, folder);
  if (uri == NULL) bench_fail("out of memory");
  sql_check(NULL, sqlite3_open_v2(uri, &db, flags, NULL));
  sqlite3_free(uri);
  sql_run(db, pragmas);
  return db;
}

void sql_close(sqlite3 *db) {
  sqlite3_stmt *statement;
  while ((statement = sqlite3_next_stmt(db, NULL)) != NULL) (void)sqlite3_finalize(statement);
  sql_check(db, sqlite3_close(db));
}

void sql_run(sqlite3 *db, const char *sql) { sql_check(db, sqlite3_exec(db, sql, NULL, NULL, NULL)); }

sqlite3_stmt *sql_prepare(sqlite3 *db, const char *sql) {
  sqlite3_stmt *statement = NULL;
  sql_check(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL));
  return statement;
}

unsigned sql_step_all(sqlite3_stmt *statement) {
  unsigned rows = 0;
  int rc;
  for (; (rc = sqlite3_step(statement)) == SQLITE_ROW; rows++) (void)sqlite3_column_text(statement, 0);
  sql_check(sqlite3_db_handle(statement), rc);
  sql_check(sqlite3_db_handle(statement), sqlite3_reset(statement));
  return rows;
}
