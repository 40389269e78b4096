/*
** answer.c - see answer.h.
*/
#include "answer.h"

#include <stddef.h>

void spm_answer_error(sqlite3_context *context, int rc) {
  if (rc == SQLITE_NOMEM) {
    sqlite3_result_error_nomem(context);
    return;
  }
  sqlite3_result_error(context, spm_last_error(), -1);
  sqlite3_result_error_code(context, rc);
}

void spm_answer_number(sqlite3_context *context, int rc, uint64_t number) {
  if (rc == SQLITE_OK)
    sqlite3_result_int64(context, (sqlite3_int64)number);
  else
    spm_answer_error(context, rc);
}

const char *spm_argument_text(sqlite3_context *context, sqlite3_value *value, const char *what) {
  const char *text = (const char *)sqlite3_value_text(value);
  if (text != NULL) return text;
  char *message = sqlite3_mprintf("%s must be given", what);
  sqlite3_result_error(context, message ? message : "an argument is missing", -1);
  sqlite3_free(message);
  return NULL;
}
