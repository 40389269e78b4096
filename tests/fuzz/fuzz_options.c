/*
** fuzz_options.c - the options of a database: as parameters of its URI, and as pragmas.
**
** ORACLE: a URI is refused if and only if one of its pmem_ parameters has a name that the
** table of options does not have, or a value that it does not allow, as told here without
** the code of options.c; and max_log_size is never less than its least.
*/
#include "crashed.h"

#include "../../vfs/options.h"
#include "../../vfs/vfs.h"

#include <ctype.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define FLAGS (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI)
#define TEXT_MAX 300u

/* One of the words, in any case. */
static bool in_list(const char *list, const char *value) {
  char copy[200], *rest = NULL;
  (void)snprintf(copy, sizeof copy, "%s", list);
  for (char *word = strtok_r(copy, "|", &rest); word != NULL; word = strtok_r(NULL, "|", &rest))
    if (strcasecmp(word, value) == 0) return true;
  return false;
}

/* Digits, at most one letter; no more than 64 bits; SIZE_MAX_TOLD: none of that. */
#define NO_NUMBER (-1.0)
static double bytes_told(const char *value) {
  size_t digits = strspn(value, "0123456789");
  double number = 0;
  if (digits == 0) return NO_NUMBER;
  for (size_t i = 0; i < digits; i++) number = number * 10 + (value[i] - '0');
  const char *unit = value + digits;
  if (*unit == 0) return number;
  const char *known = strchr("KMG", toupper((unsigned char)*unit));
  if (known == NULL || unit[1] != 0) return NO_NUMBER;
  for (const char *k = "KMG"; k <= known && number >= 0; k++) number *= 1024;
  return number;
}

static bool bytes_allowed(const char *least, const char *value) {
  double told = bytes_told(value);
  return told >= bytes_told(least) && told < 18446744073709551616.0;
}

/* Digits, and perhaps a point with more of them; nine behind the point count. */
static double seconds_told(const char *value) {
  size_t whole = strspn(value, "0123456789");
  if (whole == 0 || (value[whole] != 0 && value[whole] != '.')) return NO_NUMBER;
  if (value[whole] == 0) return atof(value);
  size_t fraction = strspn(value + whole + 1, "0123456789");
  return fraction == 0 || value[whole + 1 + fraction] != 0 ? NO_NUMBER : atof(value);
}

static bool seconds_allowed(const char *least, const char *value) {
  double told = seconds_told(value);
  return told >= seconds_told(least) && told < 18446744072.0;
}

static bool is_allowed(const char *name, const char *value) {
#define IS_WORD(allowed) in_list(allowed, value)
#define IS_BYTES(allowed) bytes_allowed(allowed, value)
#define IS_SECONDS(allowed) seconds_allowed(allowed, value)
#define X(option, kind, change, initial, allowed, meaning) \
  if (strcasecmp(name, #option) == 0) return IS_##kind(allowed);
  SPM_OPTION_TABLE(X)
#undef X
  return false;
}

/* Every parameter, as SQLite itself takes the URI apart; a repeated one counts by its first value. */
static bool all_allowed(const char *file) {
  const char *key;
  for (int i = 0; (key = sqlite3_uri_key(file, i)) != NULL; i++)
    if (strncasecmp(key, "pmem_", 5) == 0 && !is_allowed(key + 5, sqlite3_uri_parameter(file, key))) return false;
  return true;
}

static int64_t log_size(sqlite3 *db) {
  sqlite3_stmt *statement;
  int64_t bytes = -1;
  if (sqlite3_prepare_v2(db, "PRAGMA pmem_max_log_size", -1, &statement, NULL) != SQLITE_OK) return -1;
  if (sqlite3_step(statement) == SQLITE_ROW) bytes = sqlite3_column_int64(statement, 0);
  (void)sqlite3_finalize(statement);
  return bytes;
}

static bool on_pmem(sqlite3 *db) {
  char *name = NULL;
  bool is = sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name) == SQLITE_OK && name != NULL &&
            strcmp(name, "pmem") == 0;
  sqlite3_free(name);
  return is;
}

static void try_uri(const char *text) {
  char uri[600];
  sqlite3 *db = NULL;
  (void)snprintf(uri, sizeof uri, "file:%s?vfs=pmem&%s", fuzz_path(""), text);
  if (sqlite3_open_v2(uri, &db, FLAGS, NULL) == SQLITE_OK && on_pmem(db)) {
    const char *file = sqlite3_db_filename(db, "main");
    char *refusal = spm_vfs_refusal(db);
    bool odd = sqlite3_uri_boolean(file, "nolock", 0) != 0; /* refused for that */
    if (!odd && (refusal == NULL) != all_allowed(file)) fuzz_wrong("%s is %s", uri, refusal ? refusal : "accepted");
    if (refusal == NULL && log_size(db) < (1 << 20) && log_size(db) >= 0) fuzz_wrong("%s is too small a log", uri);
    sqlite3_free(refusal);
    (void)sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
  }
  (void)sqlite3_close(db);
}

/* A pragma changes what it may, or nothing. */
static void try_pragma(const char *text) {
  sqlite3 *db = NULL;
  char name[40], value[TEXT_MAX + 1];
  size_t length = strcspn(text, "=");
  (void)snprintf(name, sizeof name, "%.*s", (int)length, text);
  (void)snprintf(value, sizeof value, "%s", text[length] == 0 ? "" : text + length + 1);
  char *sql = sqlite3_mprintf("PRAGMA \"pmem_%w\"=%Q", name, value);
  if (sql == NULL || sqlite3_open_v2(fuzz_path(""), &db, FLAGS, "pmem") != SQLITE_OK) fuzz_wrong("opening");
  int64_t before = log_size(db);
  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  bool asked = strcasecmp(name, "max_log_size") == 0;
  bool wanted = asked && bytes_allowed("1M", value) && bytes_told(value) < 9e18;
  if (asked && (rc == SQLITE_OK) != bytes_allowed("1M", value)) fuzz_wrong("%s gives %d", sql, rc);
  if (wanted && (double)log_size(db) != (double)(int64_t)bytes_told(value)) fuzz_wrong("%s sets something else", sql);
  if (rc != SQLITE_OK && log_size(db) != before) fuzz_wrong("%s fails and sets something", sql);
  sqlite3_free(sql);
  (void)sqlite3_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static bool registered;
  char text[TEXT_MAX + 1];
  if (!registered && spm_vfs_register(false) != SQLITE_OK) fuzz_wrong("registering");
  registered = true;
  if (n < 2 || n - 1 > TEXT_MAX) return 0;
  for (size_t i = 1; i < n; i++) text[i - 1] = bytes[i] == 0 ? '&' : (char)bytes[i];
  text[n - 1] = 0;
  if (strstr(text, "modeof") != NULL) return 0; /* naming no file it leaks 24 bytes in SQLite's own unixOpen() */
  fuzz_write_file(fuzz_path(""), "", 0);
  if (bytes[0] % 2 == 0)
    try_uri(text);
  else
    try_pragma(text);
  return 0;
}
