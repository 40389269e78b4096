/*
** table.h - the virtual table `pmemkv`: CREATE VIRTUAL TABLE t USING pmemkv(option=value, ...).
**
** It looks to SQL as CREATE TABLE t(key PRIMARY KEY NOT NULL, value) WITHOUT ROWID.
** table.c has the module and what writes, plan.c how a scan is planned, scan.c how it
** runs, and kvtxn.c the transaction; session.h says which snapshot is read.
*/
#ifndef SPM_KV_TABLE_H
#define SPM_KV_TABLE_H

#include "session.h"

enum { SPM_COLUMN_KEY, SPM_COLUMN_VALUE };

typedef struct spm_scan spm_scan;

typedef struct spm_table {
  sqlite3_vtab base;
  struct spm_table *next; /* of all tables of the process */
  sqlite3 *db;
  char *schema, *name;
  spm_session *session;
  spm_named *named;
  bool serializable;
  bool binary;      /* SQLite compares text here as the store does (plan.h) */
  spm_scan *spares; /* closed cursors, to be opened again */
} spm_table;

/* Make the module known to a connection. */
int spm_table_register(sqlite3 *) SPM_MUST_CHECK;

/* The store of a table as SQL names it, "cache" or "main.cache", from sqlite3_malloc.
** SQLITE_NOTFOUND: that is no pmemkv table. */
int spm_table_path(sqlite3 *, const char *name, char **path) SPM_MUST_CHECK;

/* Give SQLite the text that belongs to a result code; returns the code. */
int spm_table_result(spm_table *, int rc);

#endif
