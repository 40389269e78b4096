/*
** pulse.h - long calls that can be interrupted, and whose progress is told.
**
** SQLite itself runs nothing while one of our functions does.  So the function steps through
** a statement of the same connection on its way, an endless one: sqlite3_interrupt() stops
** it, and the application's progress handler runs, and may stop it, as often as it would in
** any other statement.
*/
#ifndef SPM_PULSE_H
#define SPM_PULSE_H

#include "../vfs/store/store.h"

#include <stdbool.h>

typedef struct spm_pulse {
  sqlite3_stmt *statement; /* NULL: there is none, where an authorizer forbids it say */
  bool stopped;
} spm_pulse;

void spm_pulse_begin(spm_pulse *, sqlite3 *);
/* Shall the long call end with SQLITE_INTERRUPT?  To be asked some hundred times a second;
** `pulse` is a spm_pulse. */
bool spm_pulse_stopped(void *pulse);
void spm_pulse_end(spm_pulse *);

#endif
