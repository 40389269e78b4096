/*
** journal.h - SQLite's rollback journal of a database here, on the heap.
**
** Durability is the store's; SQLite only reads its journal back for ROLLBACK and
** savepoints (V7).  The buffer belongs to the database file and outlives the
** journal's opens and closes, so that a transaction costs no allocation.  A journal
** past a limit moves to a temporary file of the parent VFS.
*/
#ifndef SPM_JOURNAL_H
#define SPM_JOURNAL_H

#include "store/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct spm_journal_buffer {
  uint8_t *bytes;
  uint64_t size, capacity;
  sqlite3_vfs *parent_vfs;
  sqlite3_file *overflow; /* NULL: everything is in `bytes` */
} spm_journal_buffer;

typedef struct spm_journal_file {
  sqlite3_file base;
  spm_journal_buffer *buffer;
} spm_journal_file;

void spm_journal_open(spm_journal_file *, spm_journal_buffer *);
/* SQLite deleted it, or its transaction is gone: nothing may look hot. */
void spm_journal_clear(spm_journal_buffer *);
void spm_journal_free(spm_journal_buffer *);

#endif
