/*
** sqlmodel.h - the same random SQL on a pmemkv table and on an ordinary one.
**
** One database has both, `kv` and `t`; every statement is run on each, in one transaction
** and under the same savepoints, and must give the same result code, the same number of
** changed rows and the same rows, types and bits included.  Scans that stay open while
** others write must go on to show what they began with.  Now and then the database is
** closed, in the middle of a transaction too, and opened again.
**
** A *point* is a moment outside of any transaction after something may have been
** committed: between two points at most one commit happens, so that a process killed on
** its way from point n to n + 1 must have left the table as it was at one of the two.
** The same seed takes the same way, whatever the folder.
**
** Needs no check: a difference is told on standard error, with the seed, and aborts.
*/
#ifndef SPM_TESTS_SQLMODEL_H
#define SPM_TESTS_SQLMODEL_H

#include <stdint.h>

typedef struct sqlmodel_options {
  const char *folder;    /* an empty one; files are left in it          */
  uint64_t seed;
  unsigned long steps;
  const char *encoding;  /* of the database: "UTF-8", "UTF-16le"        */
  const char *schema;    /* of the table: "main", "temp"                */
  _Atomic unsigned long *points; /* counted here, if not NULL           */
  unsigned long wanted;  /* stop after that point, if not 0 ...         */
  uint64_t digests[2];   /* ... with the table's digest then, and one point before */
} sqlmodel_options;

/* The number of statements that ended in an error on both sides. */
unsigned long sqlmodel_run(sqlmodel_options *);
/* Of a table's rows in the store of a folder, opened by itself. */
uint64_t sqlmodel_digest(const char *folder);

#endif
