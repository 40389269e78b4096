/*
** pulse.c - see pulse.h.
*/
#include "pulse.h"

#include <stddef.h>

/* Each row takes some hundred instructions of SQLite's machine: handlers are set to be
** called once in a thousand or so. */
#define ENDLESS "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT 1 FROM n WHERE i % 32 = 0"

void spm_pulse_begin(spm_pulse *p, sqlite3 *db) {
  *p = (spm_pulse){0};
  if (sqlite3_prepare_v2(db, ENDLESS, -1, &p->statement, NULL) != SQLITE_OK) p->statement = NULL;
}

bool spm_pulse_stopped(void *pulse) {
  spm_pulse *p = pulse;
  if (!p->stopped && p->statement != NULL) p->stopped = sqlite3_step(p->statement) == SQLITE_INTERRUPT;
  return p->stopped;
}

void spm_pulse_end(spm_pulse *p) {
  (void)sqlite3_finalize(p->statement);
  p->statement = NULL;
}
