/*
** answer.h - what a SQL function is asked and how it answers.
*/
#ifndef SPM_ANSWER_H
#define SPM_ANSWER_H

#include "../vfs/store/store.h"

#include <stdint.h>

/* The text of an argument; NULL, and an error that names it, if there is none. */
const char *spm_argument_text(sqlite3_context *, sqlite3_value *, const char *what);
/* The thread's last error, with this code. */
void spm_answer_error(sqlite3_context *, int rc);
/* The number, or the error that kept it from being known. */
void spm_answer_number(sqlite3_context *, int rc, uint64_t number);

#endif
