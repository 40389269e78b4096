/*
** control.c - file controls and pragmas of a database file (dbfile.h).
*/
#include "dbfile.h"
#include "files.h"
#include "passthrough.h"
#include "stamp.h"

#include <string.h>

/* --------------------------------------------------------------- pragmas -- */

#define COMMITS_A_LOOK 1024u /* at the file's name */

/* Arguments of FCNTL_PRAGMA: answer or error text out, name in, value in or NULL. */
enum { PRAGMA_ANSWER = 0, PRAGMA_NAME = 1, PRAGMA_VALUE = 2 };

static int answer(char **arguments, char *text) {
  arguments[PRAGMA_ANSWER] = text;
  return text ? SQLITE_OK : SQLITE_NOMEM;
}

static void take_journal_mode(spm_dbfile *f, spm_dbfile *origin) {
  memcpy(f->journal_mode, origin->journal_mode, sizeof f->journal_mode);
}

/* WAL changes nothing and is answered with the mode in force (V5); the others are
** SQLite's to set, and are remembered for that answer. */
static int pragma_journal_mode(spm_dbfile *f, char **arguments) {
  static const char *const modes[] = {"delete", "persist", "off", "truncate", "memory"};
  const char *value = arguments[PRAGMA_VALUE];
  if (value == NULL || spm_passing(f)) return SQLITE_NOTFOUND;
  if (sqlite3_stricmp(value, "wal") == 0) return answer(arguments, sqlite3_mprintf("%s", f->journal_mode));
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
    if (sqlite3_stricmp(value, modes[i]) == 0) memcpy(f->journal_mode, modes[i], strlen(modes[i]) + 1);
  spm_files_siblings(f, take_journal_mode);
  return SQLITE_NOTFOUND;
}

static void take_locking_mode(spm_dbfile *f, spm_dbfile *origin) {
  f->exclusive = f->exclusive_default = origin->exclusive_default;
}

/* Without a schema the pragma means every database of the connection, and those that
** come later.  SQLite does not tell whether it was qualified; asking for more
** exclusion than was meant loses nothing (V3). */
static int pragma_locking_mode(spm_dbfile *f, const char *value) {
  if (value == NULL) return SQLITE_NOTFOUND;
  bool exclusive = sqlite3_stricmp(value, "exclusive") == 0;
  if (!exclusive && sqlite3_stricmp(value, "normal") != 0) return SQLITE_NOTFOUND;
  f->exclusive_default = exclusive;
  spm_files_siblings(f, take_locking_mode);
  return SQLITE_NOTFOUND;
}

/* A file that is not attached yet takes its options along when it is. */
static int set_option(spm_dbfile *f, char **arguments) {
  spm_options changed = f->options;
  int rc = spm_options_set(&changed, arguments[PRAGMA_NAME], arguments[PRAGMA_VALUE]);
  if (rc == SQLITE_OK && f->conn != NULL && spm_conn_orphaned(f->conn)) rc = spm_dbfile_orphan_error(f);
  if (rc == SQLITE_OK && f->conn != NULL) {
    spm_store_options store = spm_options_of_store(&changed);
    rc = spm_store_configure(f->conn, &store);
  }
  if (rc != SQLITE_OK) {
    bool memory = rc == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM; /* SQLite has words for that */
    if (!memory) arguments[PRAGMA_ANSWER] = sqlite3_mprintf("%s", spm_last_error());
    return rc;
  }
  f->options = changed;
  return SQLITE_OK;
}

/* The store's options are those of all its connections here. */
static void look_at_store(spm_dbfile *f) {
  if (f->conn == NULL || spm_conn_orphaned(f->conn)) return;
  spm_store_options store = spm_store_configured(f->conn);
  spm_options_in_force(&f->options, &store);
}

static int pragma_option(spm_dbfile *f, char **arguments) {
  look_at_store(f);
  char *text = spm_options_show(&f->options, arguments[PRAGMA_NAME]);
  if (text == NULL) return SQLITE_NOTFOUND;
  sqlite3_free(text);
  int rc = arguments[PRAGMA_VALUE] ? set_option(f, arguments) : SQLITE_OK;
  return rc == SQLITE_OK ? answer(arguments, spm_options_show(&f->options, arguments[PRAGMA_NAME])) : rc;
}

static int pragma(spm_dbfile *f, char **arguments) {
  const char *name = arguments[PRAGMA_NAME];
  if (sqlite3_stricmp(name, "journal_mode") == 0) return pragma_journal_mode(f, arguments);
  if (sqlite3_stricmp(name, "locking_mode") == 0) return pragma_locking_mode(f, arguments[PRAGMA_VALUE]);
  if (sqlite3_stricmp(name, "pmem_error") == 0)
    return answer(arguments, sqlite3_mprintf("%s", f->refusal ? f->refusal : spm_last_error()));
  if (sqlite3_stricmp(name, "pmem_medium") == 0)
    return answer(arguments, sqlite3_mprintf("%s", f->conn ? spm_store_medium(f->conn) : "not known before the first read"));
  return pragma_option(f, arguments);
}

/* -------------------------------------------------------------- controls -- */

static void give_default(spm_dbfile *f, spm_dbfile *origin) {
  if (f->db != NULL) origin->exclusive_default |= f->exclusive_default;
}

/* Told once, when the pager opens the file for a connection. */
static int belongs_to(spm_dbfile *f, void *const *db) {
  f->db = *db;
  spm_files_siblings(f, give_default);
  f->exclusive = f->exclusive_default;
  return SQLITE_OK;
}

static int control_bool(bool *value, int *argument) {
  if (*argument >= 0) *value = *argument != 0;
  *argument = *value;
  return SQLITE_OK;
}

/* The limit SQLite may fetch up to; unchanged while it holds pointers (V9). */
static int mmap_size(spm_dbfile *f, int64_t *argument) {
  int64_t limit = *argument;
  *argument = f->mmap_limit;
  if (limit >= 0 && f->fetched == 0) f->mmap_limit = limit;
  return SQLITE_OK;
}

/* The pager asks in every transaction that writes, and a commit must not cost a stat: in
** a run of commits the file is looked for once in a thousand.  Until it is missed it goes
** on being written consistently, with its log. */
static int has_moved(spm_dbfile *f, int *moved) {
  *moved = 0;
  bool writing = f->conn != NULL && spm_conn_writing(f->conn);
  if (writing && f->commits_in_a_row % COMMITS_A_LOOK != 0) return SQLITE_OK;
  return f->parent->pMethods->xFileControl(f->parent, SQLITE_FCNTL_HAS_MOVED, moved);
}

/* Is a process other than this one reading? */
static int external_reader(spm_dbfile *f, int *reading) {
  *reading = f->conn != NULL && !spm_conn_orphaned(f->conn) && spm_conn_read_elsewhere(f->conn);
  return SQLITE_OK;
}

int spm_dbfile_control(spm_dbfile *f, int op, void *argument) {
  switch (op) {
    case SQLITE_FCNTL_PRAGMA: return pragma(f, argument);
    case SQLITE_FCNTL_PDB: return belongs_to(f, argument);
    case SQLITE_FCNTL_SYNC: return f->conn ? spm_dbfile_sync(f, argument) : SQLITE_OK;
    case SQLITE_FCNTL_COMMIT_PHASETWO: return f->conn ? spm_dbfile_commit(f) : SQLITE_OK;
    case SQLITE_FCNTL_LOCKSTATE: *(int *)argument = f->lock; return SQLITE_OK;
    case SQLITE_FCNTL_LAST_ERRNO: *(int *)argument = spm_last_errno(); return SQLITE_OK;
    case SQLITE_FCNTL_VFSNAME: *(char **)argument = sqlite3_mprintf("pmem"); return SQLITE_OK;
    case SQLITE_FCNTL_POWERSAFE_OVERWRITE: return control_bool(&f->powersafe, argument);
    case SQLITE_FCNTL_MMAP_SIZE: return mmap_size(f, argument);
    case SQLITE_FCNTL_CHUNK_SIZE:
    case SQLITE_FCNTL_SIZE_HINT: return SQLITE_OK; /* the store grows in steps of its own */
    case SQLITE_FCNTL_EXTERNAL_READER: return external_reader(f, argument);
    case SQLITE_FCNTL_HAS_MOVED: return has_moved(f, argument);
    case SQLITE_FCNTL_TEMPFILENAME: return f->parent->pMethods->xFileControl(f->parent, op, argument);
    default: return SQLITE_NOTFOUND;
  }
}
