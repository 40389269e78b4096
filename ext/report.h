/*
** report.h - read-only tables in SQL that tell something: pmem_stats, pmem_readers,
** pmem_log, pmem_recovery.
**
** Each is an eponymous virtual table whose rows are made whole when a scan begins, so
** that a scan shows one moment and holds nothing.  Those with an argument take it as a
** table-valued function does: SELECT * FROM pmem_log('main').
*/
#ifndef SPM_REPORT_H
#define SPM_REPORT_H

#include "../vfs/store/store.h"

typedef struct spm_rows spm_rows;

/* Add a row, then its cells from left to right.  A failed allocation is kept, and is the
** scan's result. */
void spm_rows_begin(spm_rows *);
void spm_rows_text(spm_rows *, const char *); /* copied; NULL: SQL NULL */
void spm_rows_number(spm_rows *, uint64_t);
void spm_rows_real(spm_rows *, double);
void spm_rows_null(spm_rows *);

typedef struct spm_report {
  const char *name;
  const char *columns;  /* "lsn INTEGER, type TEXT": as in CREATE TABLE */
  int argument;         /* how many columns come before the hidden one, `name`; -1: it is not asked for */
  /* SQLITE_OK, or an error whose text is in spm_last_error().  `path` is a file's. */
  int (*fill)(spm_rows *, const char *path);
} spm_report;

/* Make the tables known to a connection. */
int spm_report_register(sqlite3 *) SPM_MUST_CHECK;

#endif
