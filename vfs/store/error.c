/*
** error.c - see error.h.
*/
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_text[1024];
static _Thread_local int last_errno;

int spm_error_at(const char *file, int line, int code, const char *format, ...) {
  last_errno = errno;
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(last_text, sizeof last_text, format, arguments);
  va_end(arguments);
  const char *base = strrchr(file, '/');
  sqlite3_log(code, "pmem: %s (%s:%d)", last_text, base ? base + 1 : file, line);
  return code;
}

void spm_notice(const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  sqlite3_log(SQLITE_NOTICE, "pmem: %s", text);
}

const char *spm_last_error(void) { return last_text; }
int spm_last_errno(void) { return last_errno; }
