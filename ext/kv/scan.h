/*
** scan.h - a cursor of the table: the rows of a snapshot with the transaction's own
** changes over them, in the order of their keys, either way.
**
** A scan reads as of the moment it was opened: the snapshot of its session then, and what
** the transaction had written by then (K5).  It goes through *ranges*, one after the
** other, in each of which it merges two sorted sequences: the tree's, by a cursor that
** keeps a copy of its leaf, and the write set's.  Where both have a key, the write set's
** version counts; if that is a deletion, there is no row.
**
**     tree       a   c   d   f
**     write set    b   -d   f'          (-d: deleted)
**     rows       a b c       f'
**
** A range of one key is a search, without a cursor.  Once a scan has been opened it
** allocates nothing but the list of an IN and large values.
*/
#ifndef SPM_KV_SCAN_H
#define SPM_KV_SCAN_H

#include "table.h"

/* The cursor methods of the module. */
int spm_scan_open(sqlite3_vtab *, sqlite3_vtab_cursor **);
int spm_scan_close(sqlite3_vtab_cursor *);
int spm_scan_filter(sqlite3_vtab_cursor *, int plan, const char *, int argc, sqlite3_value **argv);
int spm_scan_next(sqlite3_vtab_cursor *);
int spm_scan_eof(sqlite3_vtab_cursor *);
int spm_scan_column(sqlite3_vtab_cursor *, sqlite3_context *, int column);
int spm_scan_rowid(sqlite3_vtab_cursor *, sqlite3_int64 *);

/* Free the cursors a table keeps. */
void spm_scan_free_spares(spm_table *);

#endif
