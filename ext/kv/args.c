/*
** args.c - see args.h.
*/
#include "args.h"

#include <ctype.h>
#include <string.h>

#define SUFFIX "-pmemkv" /* of the default store, behind the database's name */

/* -------------------------------------------------------------------- text -- */

static const char *skip_blanks(const char *at) {
  while (isspace((unsigned char)*at)) at++;
  return at;
}

static size_t without_blanks(const char *from, size_t n) {
  while (n > 0 && isspace((unsigned char)from[n - 1])) n--;
  return n;
}

/* What a quoted string says, in SQL's quotes of either kind; anything else as it is. */
static char *unquoted(const char *from, size_t n) {
  char *text = sqlite3_malloc64(n + 1);
  if (text == NULL) return NULL;
  bool quoted = n >= 2 && (from[0] == '\'' || from[0] == '"') && from[n - 1] == from[0];
  size_t length = 0;
  for (size_t i = quoted; i < n - quoted; i++) {
    text[length++] = from[i];
    if (quoted && from[i] == from[0] && from[i + 1] == from[0]) i++;
  }
  text[length] = 0;
  return text;
}

/* "name = value" in two. */
static int split(const char *argument, char **name, char **value) {
  const char *from = skip_blanks(argument), *sign = strchr(from, '=');
  if (sign == NULL) return spm_error(SQLITE_ERROR, "%s: an argument is written option=value", from);
  const char *behind = skip_blanks(sign + 1);
  *name = unquoted(from, without_blanks(from, (size_t)(sign - from)));
  *value = unquoted(behind, without_blanks(behind, strlen(behind)));
  return *name != NULL && *value != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

/* -------------------------------------------------------------------- path -- */

/* The file of the schema; a temp table's database is the connection's main one. */
static const char *database_of(sqlite3 *db, const char *schema) {
  const char *file = sqlite3_db_filename(db, sqlite3_stricmp(schema, "temp") == 0 ? "main" : schema);
  return file != NULL ? file : "";
}

static int default_path(sqlite3 *db, const char *schema, char **path) {
  const char *file = sqlite3_db_filename(db, schema);
  if (file == NULL || file[0] == 0)
    return spm_error(SQLITE_ERROR, "path: it must be given, for a table in %s has no database file to stand beside",
                     sqlite3_stricmp(schema, "temp") == 0 ? "the schema temp" : "a database in memory");
  *path = sqlite3_mprintf("%s" SUFFIX, file);
  return *path != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

static int beside_database(sqlite3 *db, const char *schema, char **path) {
  const char *file = database_of(db, schema), *slash = strrchr(file, '/');
  if ((*path)[0] == '/' || slash == NULL) return SQLITE_OK;
  char *whole = sqlite3_mprintf("%.*s/%s", (int)(slash - file), file, *path);
  if (whole == NULL) return SQLITE_NOMEM;
  sqlite3_free(*path);
  *path = whole;
  return SQLITE_OK;
}

/* Opening SQLite's own file beside SQLite would take away the locks it has on it. */
static int refuse_database(sqlite3 *db, const char *schema, const char *path) {
  if (strcmp(path, database_of(db, schema)) != 0 && strcmp(path, database_of(db, "main")) != 0) return SQLITE_OK;
  return spm_error(SQLITE_ERROR, "path=%s: that is the database itself", path);
}

/* ----------------------------------------------------------------- parsing -- */

static int take_path(spm_args *a, char **value) {
  if ((*value)[0] == 0) return spm_error(SQLITE_ERROR, "path: the value must not be empty");
  sqlite3_free(a->path);
  a->path = *value;
  *value = NULL;
  return SQLITE_OK;
}

static int take_argument(spm_args *a, const char *argument) {
  char *name = NULL, *value = NULL;
  int rc = split(argument, &name, &value);
  if (rc == SQLITE_OK)
    rc = sqlite3_stricmp(name, "path") == 0 ? take_path(a, &value) : spm_options_argument(&a->options, name, value);
  sqlite3_free(name);
  sqlite3_free(value);
  return rc;
}

int spm_args_parse(sqlite3 *db, int argc, const char *const *argv, spm_args *a) {
  const char *schema = argv[1];
  int rc = SQLITE_OK;
  spm_options_default(&a->options);
  a->path = NULL;
  /* USING pmemkv() has one argument, which is empty. */
  for (int i = 3; rc == SQLITE_OK && i < argc; i++)
    if (argc > 4 || *skip_blanks(argv[i]) != 0) rc = take_argument(a, argv[i]);
  if (rc == SQLITE_OK) rc = a->path ? beside_database(db, schema, &a->path) : default_path(db, schema, &a->path);
  if (rc == SQLITE_OK) rc = refuse_database(db, schema, a->path);
  if (rc != SQLITE_OK) spm_args_free(a);
  return rc;
}

void spm_args_free(spm_args *a) {
  sqlite3_free(a->path);
  a->path = NULL;
}
