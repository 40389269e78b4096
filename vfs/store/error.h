/*
** error.h - the one place where the store says what went wrong.
**
** Every refusal ends in spm_error(): it logs the text through SQLite's error
** log together with the code site, remembers it for the thread (so that the
** VFS can answer xGetLastError and PRAGMA pmem_error), and returns the code.
**
** May be called from anywhere in the project; takes no lock.
*/
#ifndef SPM_ERROR_H
#define SPM_ERROR_H

#include "sqlite3ext.h"
SQLITE_EXTENSION_INIT3

#define SPM_MUST_CHECK __attribute__((warn_unused_result))

/* Log `format`, remember it as the thread's last error, return `code`. */
int spm_error_at(const char *file, int line, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define spm_error(...) spm_error_at(__FILE__, __LINE__, __VA_ARGS__)

/* A note for the error log that is no error: a recovery, a take-over. */
void spm_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The thread's last error text, "" if there was none.  Valid until its next error. */
const char *spm_last_error(void);
/* The errno that came with it, 0 if none. */
int spm_last_errno(void);

#endif
