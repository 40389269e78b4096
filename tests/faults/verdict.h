/*
** verdict.h - one case: an operation with one fault in it, and everything that must hold
** afterwards.
**
**  1. The result is SQLITE_OK, or an error that fits the fault and has a text: a full disk
**     is SQLITE_FULL and not SQLITE_CORRUPT; an interrupted call is no error at all.
**  2. What was acknowledged is there, whole; what failed is not: for the same connection,
**     another one, another process, after closing, and after a crash in this very moment.
**  3. The same connection goes on reading and writing, unless a flush may have been lost;
**     then it says so until the database has been opened anew.
**  4. Opened anew, the database is intact, is written to, and leaves one plain file that
**     stock SQLite accepts.
**  5. No allocation, descriptor, mapping or lock is left.
**  6. The case ends, within a time in which nothing real can last.
*/
#ifndef SPM_FAULTS_VERDICT_H
#define SPM_FAULTS_VERDICT_H

#include "inject.h"
#include "operations.h"

#define COMMITS_MAX 16

/* Content after so many commits: of all databases, and of a.db alone. */
typedef struct expectation {
  uint64_t all[COMMITS_MAX + 1], main[COMMITS_MAX + 1];
} expectation;

typedef struct outcome {
  bool fired;
  fault_call where;
  int what;    /* the error */
  bool refused; /* the operation failed */
  bool poisoned;
} outcome;

/* What the operation does without faults, with `commits` of its commits only. */
void verdict_expect(const operation *, world *, unsigned commits, expectation *);
/* The whole case; ends the process with status 1 and a report if anything does not hold. */
void verdict_of(const operation *, world *, const fault *, const expectation *, outcome *);

#endif
