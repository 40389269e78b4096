/*
** sql.h - what the benchmarks that speak SQL have in common.
*/
#ifndef SPM_BENCH_SQL_H
#define SPM_BENCH_SQL_H

#include <sqlite3.h>

/* Load the extension that an environment variable names. */
void sql_load(sqlite3 *, const char *variable);
/* Open the URI made from `format` and a folder, and run `pragmas` on it. */
sqlite3 *sql_open(const char *format, const char *folder, const char *pragmas);
void sql_close(sqlite3 *); /* statements too */
void sql_run(sqlite3 *, const char *sql);
sqlite3_stmt *sql_prepare(sqlite3 *, const char *sql);
/* Step to the end, taking the first column of every row; the number of rows. */
unsigned sql_step_all(sqlite3_stmt *);
void sql_check(sqlite3 *, int rc);

#endif
