/*
** sqlmodel.h - the same random SQL on a pmemkv table and on an ordinary one.
**
** One database has both, `kv` and `t`; every statement is run on each, in one transaction
** and under the same savepoints, and must give the same result code, the same number of
** changed rows and the same rows, types and bits included.  Scans that stay open while
** others write must go on to show what they began with.  Now and then the database is
** closed, in the middle of a transaction too, and opened again.
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
} sqlmodel_options;

/* The number of statements that ended in an error on both sides. */
unsigned long sqlmodel_run(const sqlmodel_options *);

#endif
