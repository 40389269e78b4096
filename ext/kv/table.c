/*
** table.c - see table.h.
*/
#include "table.h"

#include "anchor.h"
#include "args.h"
#include "ddl.h"
#include "decision.h"
#include "key.h"
#include "kvcheck.h"
#include "plan.h"
#include "scan.h"
#include "kvtxn.h"
#include "together.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define DECLARATION "CREATE TABLE x(key PRIMARY KEY NOT NULL, value) WITHOUT ROWID"

/* ----------------------------------------------------------------- results -- */

/* Every refusal has been put into words where it was found; lack of memory has none. */
int spm_table_result(spm_table *t, int rc) {
  if (rc == SQLITE_OK || rc == SQLITE_NOMEM) return rc;
  sqlite3_free(t->base.zErrMsg);
  t->base.zErrMsg = sqlite3_mprintf("%s", spm_last_error());
  return rc;
}

static int refuse(char **error, int rc) {
  if (rc != SQLITE_NOMEM) *error = sqlite3_mprintf("%s", spm_last_error());
  return rc;
}

/* ---------------------------------------------------------------- the list -- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static spm_table *tables; /* under `mutex` */

static void add_to_list(spm_table *t) {
  pthread_mutex_lock(&mutex);
  t->next = tables;
  tables = t;
  pthread_mutex_unlock(&mutex);
}

/* Nothing happens to one that is not in it. */
static void remove_from_list(const spm_table *t) {
  pthread_mutex_lock(&mutex);
  spm_table **link = &tables;
  while (*link != NULL && *link != t) link = &(*link)->next;
  if (*link != NULL) *link = t->next;
  pthread_mutex_unlock(&mutex);
}

/* The newest such table: after DDL there can be two for one name (K4). */
static spm_table *find_in_list(sqlite3 *db, const char *schema, const char *name) {
  pthread_mutex_lock(&mutex);
  spm_table *t = tables;
  while (t != NULL && (t->db != db || sqlite3_stricmp(t->schema, schema) != 0 || sqlite3_stricmp(t->name, name) != 0))
    t = t->next;
  pthread_mutex_unlock(&mutex);
  return t;
}

/* Tables are connected when a statement first names them. */
static spm_table *find_table(sqlite3 *db, const char *schema, const char *name) {
  sqlite3_stmt *stmt = NULL;
  char *sql = sqlite3_mprintf("SELECT 1 FROM \"%w\".\"%w\"", schema, name);
  if (sql == NULL || sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) {
    sqlite3_free(sql);
    return NULL;
  }
  spm_table *t = find_in_list(db, schema, name);
  (void)sqlite3_finalize(stmt);
  sqlite3_free(sql);
  return t;
}

static spm_table *find_qualified(sqlite3 *db, const char *name, const char *dot) {
  char *schema = sqlite3_mprintf("%.*s", (int)(dot - name), name);
  spm_table *t = schema ? find_table(db, schema, dot + 1) : NULL;
  sqlite3_free(schema);
  return t;
}

/* In the order in which SQLite looks; attached databases need to be named. */
int spm_table_path(sqlite3 *db, const char *name, char **path) {
  const char *dot = strchr(name, '.');
  spm_table *t = find_table(db, "temp", name);
  if (t == NULL) t = find_table(db, "main", name);
  if (t == NULL && dot != NULL) t = find_qualified(db, name, dot);
  if (t == NULL) return SQLITE_NOTFOUND;
  *path = sqlite3_mprintf("%s", t->session->path);
  return *path != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

/* --------------------------------------------------------- create, connect -- */

static int is_binary(sqlite3 *db, bool *binary) {
  sqlite3_stmt *stmt;
  int rc = sqlite3_prepare_v2(db, "PRAGMA encoding", -1, &stmt, NULL);
  if (rc != SQLITE_OK) return rc;
  *binary = sqlite3_step(stmt) == SQLITE_ROW && sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "UTF-8") == 0;
  return sqlite3_finalize(stmt);
}

/* Names of tables are the same in either case, and so are those of their trees. */
static char *tree_name(const char *table) {
  char *name = sqlite3_mprintf("%s", table);
  for (char *at = name; at != NULL && *at != 0; at++)
    if ((unsigned char)*at < 0x80) *at = (char)tolower((unsigned char)*at);
  return name;
}

/* What cannot be told now will be when the file is opened. */
static bool must_be_readonly(sqlite3 *db, const char *schema, const char *path) {
  return sqlite3_db_readonly(db, schema) == 1 ||
         (access(path, F_OK) == 0 && access(path, W_OK) != 0 && (errno == EACCES || errno == EROFS || errno == EPERM));
}

static int open_session(spm_table *t, const char *schema, const spm_args *a, bool create) {
  spm_kv_options options = {.store = spm_options_of_store(&a->options),
                            .readonly = must_be_readonly(t->db, schema, a->path),
                            .create = create};
  return spm_session_open(t->db, a->path, &options, &t->session);
}

static void free_table(spm_table *t) {
  remove_from_list(t);
  spm_scan_free_spares(t);
  sqlite3_free(t->base.zErrMsg); /* of xDestroy, which SQLite does not ask for */
  sqlite3_free(t->schema);
  sqlite3_free(t->name);
  if (t->session != NULL) {
    spm_session_unname(t->session, t->named);
    spm_session_close(t->session);
    spm_anchor_rest(t->db);
  }
  sqlite3_free(t);
}

static int declare(sqlite3 *db) {
  int rc = sqlite3_declare_vtab(db, DECLARATION);
  if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
  return rc == SQLITE_OK ? sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY) : rc;
}

static int fill_table(spm_table *t, int argc, const char *const *argv, bool create) {
  spm_args a;
  int rc = spm_args_parse(t->db, argc, argv, &a);
  if (rc != SQLITE_OK) return rc;
  t->serializable = spm_options_is(&a.options, SPM_OPTION_isolation, "serializable");
  rc = open_session(t, argv[1], &a, create);
  spm_args_free(&a);
  char *name = rc == SQLITE_OK ? tree_name(argv[2]) : NULL;
  if (rc == SQLITE_OK) rc = name ? spm_session_name(t->session, name, &t->named) : SQLITE_NOMEM;
  sqlite3_free(name);
  return rc;
}

static int keep_names(spm_table *t, const char *schema, const char *name) {
  t->schema = sqlite3_mprintf("%s", schema);
  t->name = sqlite3_mprintf("%s", name);
  return t->schema != NULL && t->name != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

static int create_tree(spm_table *t) {
  bool held;
  int rc = spm_anchor_hold(t->session, &held);
  return rc == SQLITE_OK ? spm_ddl_create(t->session, t->named, held) : rc;
}

static int new_table(sqlite3 *db, int argc, const char *const *argv, bool create, spm_table **made, char **error) {
  spm_table *t = sqlite3_malloc64(sizeof *t);
  if (t == NULL) return SQLITE_NOMEM;
  *t = (spm_table){.db = db};
  int rc = is_binary(db, &t->binary);
  if (rc == SQLITE_OK) rc = fill_table(t, argc, argv, create);
  if (rc == SQLITE_OK && create) rc = create_tree(t);
  if (rc == SQLITE_OK) rc = declare(db);
  if (rc == SQLITE_OK) rc = keep_names(t, argv[1], argv[2]);
  if (rc != SQLITE_OK) {
    free_table(t);
    return refuse(error, rc);
  }
  add_to_list(t);
  *made = t;
  return SQLITE_OK;
}

static int create(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **error) {
  (void)aux;
  return new_table(db, argc, argv, true, (spm_table **)out, error);
}

/* Succeeds without a store: a table whose store is lost can still be dropped (K5). */
static int connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **error) {
  (void)aux;
  spm_anchor_doubt(db);
  return new_table(db, argc, argv, false, (spm_table **)out, error);
}

static int disconnect(sqlite3_vtab *vtab) {
  free_table((spm_table *)vtab);
  return SQLITE_OK;
}

static bool is_lost(const spm_table *t) { return access(t->session->path, F_OK) != 0; }

/* It may be lost before it is opened, too: others have dropped its last table. */
static int drop_tree(spm_table *t) {
  bool held;
  if (is_lost(t)) return SQLITE_OK;
  int rc = spm_anchor_hold(t->session, &held);
  if (rc == SQLITE_OK) rc = spm_ddl_drop(t->session, t->named, held);
  return rc == SQLITE_CANTOPEN && is_lost(t) ? SQLITE_OK : rc;
}

static int destroy(sqlite3_vtab *vtab) {
  spm_table *t = (spm_table *)vtab;
  int rc = drop_tree(t);
  if (rc != SQLITE_OK) return spm_table_result(t, rc);
  free_table(t);
  return SQLITE_OK;
}

static int rename_table(sqlite3_vtab *vtab, const char *to) {
  spm_table *t = (spm_table *)vtab;
  bool held;
  char *name = tree_name(to);
  if (name == NULL) return SQLITE_NOMEM;
  int rc = spm_anchor_hold(t->session, &held);
  if (rc == SQLITE_OK) rc = spm_ddl_rename(t->session, t->named, name, held);
  sqlite3_free(name);
  return spm_table_result(t, rc);
}

/* ----------------------------------------------------------------- writing -- */

static int encode_key(spm_table *t, sqlite3_value *value, spm_key *key) {
  int rc = spm_key_encode(value, t->binary, key);
  if (rc == SQLITE_CONSTRAINT_NOTNULL) return spm_error(rc, "NOT NULL constraint failed: %s.key", t->name);
  if (rc == SQLITE_OK && key->cut)
    rc = spm_error(SQLITE_TOOBIG, "a key of %d bytes: keys may have %u bytes at most",
                   sqlite3_value_bytes(value), SPM_KEY_MAX - 1);
  return rc;
}

/* What the transaction sees now: a version of its own, or a value of its snapshot.
** SQLITE_NOTFOUND: neither. */
static int look_up(spm_table *t, const spm_key *key, const spm_version **version, spm_tree *tree, spm_value *value) {
  spm_session *s = t->session;
  *version = spm_changes_find(s->changes, t->named->id, key->bytes, key->size, spm_changes_sequence(s->changes));
  if (*version != NULL) return (*version)->deleted ? SQLITE_NOTFOUND : SQLITE_OK;
  int rc = spm_session_tree(s, s->txn.reader, t->named, tree);
  return rc == SQLITE_OK ? spm_tree_get(tree, key->bytes, key->size, value) : rc;
}

/* That a key was there is something the transaction has read. */
static int refuse_second(spm_table *t, const spm_key *key) {
  spm_range point = {.low = key->bytes, .high = key->bytes, .nlow = key->size, .nhigh = key->size};
  int rc = t->serializable ? spm_kvtxn_has_read(t->session, t->named, &point) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  return spm_error(SQLITE_CONSTRAINT_PRIMARYKEY, "UNIQUE constraint failed: %s.key", t->name);
}

/* The key must be new, unless what is there is to be replaced. */
static int check_new(spm_table *t, const spm_key *key) {
  const spm_version *version;
  spm_tree tree;
  spm_value value;
  if (sqlite3_vtab_on_conflict(t->db) == SQLITE_REPLACE) return SQLITE_OK;
  int rc = look_up(t, key, &version, &tree, &value);
  if (rc == SQLITE_OK) rc = refuse_second(t, key);
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

static int put_value(spm_table *t, const spm_key *key, sqlite3_value *value) {
  uint64_t size;
  uint8_t *bytes;
  int rc = spm_datum_measure(value, t->binary, &size);
  if (rc != SQLITE_OK) return rc;
  if (size > SPM_KV_VALUE_MAX)
    return spm_error(SQLITE_TOOBIG, "a value of %llu bytes: values may have %llu bytes at most",
                     (unsigned long long)(size - SPM_VALUE_HEAD), (unsigned long long)(SPM_KV_VALUE_MAX - SPM_VALUE_HEAD));
  rc = spm_changes_put(t->session->changes, t->named->id, key->bytes, key->size, size, &bytes);
  if (rc == SQLITE_OK) spm_datum_encode(value, t->binary, key->form, bytes);
  return rc;
}

static int delete_key(spm_table *t, const spm_key *key) {
  return spm_changes_delete(t->session->changes, t->named->id, key->bytes, key->size);
}

static int insert(spm_table *t, sqlite3_value *new_key, sqlite3_value *value) {
  spm_key key;
  int rc = encode_key(t, new_key, &key);
  if (rc == SQLITE_OK) rc = check_new(t, &key);
  return rc == SQLITE_OK ? put_value(t, &key, value) : rc;
}

/* The value that `from` has now becomes that of `to`, whose form may be another. */
static int copy_value(spm_table *t, const spm_key *from, const spm_key *to) {
  const spm_version *version;
  spm_tree tree;
  spm_value value;
  uint8_t *bytes;
  int rc = look_up(t, from, &version, &tree, &value);
  if (rc != SQLITE_OK) return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc; /* deleted by this statement */
  uint64_t size = version ? version->size : value.size;
  if (size == 0) return spm_error(SQLITE_CORRUPT, "a value without a type");
  rc = spm_changes_put(t->session->changes, t->named->id, to->bytes, to->size, size, &bytes);
  if (rc != SQLITE_OK) return rc;
  if (version != NULL)
    memcpy(bytes, version->bytes, size);
  else
    rc = spm_value_read(tree.conn, &value, 0, (uint32_t)size, bytes);
  if (rc == SQLITE_OK) spm_datum_set_form(bytes, to->form);
  return rc;
}

/* The old row goes before the new one comes; values that are not changed are not in
** the arguments. */
static int update_row(spm_table *t, sqlite3_value *old_key, sqlite3_value *new_key, sqlite3_value *value) {
  spm_key from, to;
  int rc = encode_key(t, old_key, &from);
  if (rc == SQLITE_OK) rc = encode_key(t, sqlite3_value_nochange(new_key) ? old_key : new_key, &to);
  if (rc != SQLITE_OK) return rc;
  bool moves = spm_bytes_compare(from.bytes, from.size, to.bytes, to.size) != 0;
  if (moves) rc = check_new(t, &to);
  if (rc == SQLITE_OK) rc = sqlite3_value_nochange(value) ? copy_value(t, &from, &to) : put_value(t, &to, value);
  return rc == SQLITE_OK && moves ? delete_key(t, &from) : rc;
}

static int delete_row(spm_table *t, sqlite3_value *old_key) {
  spm_key key;
  int rc = encode_key(t, old_key, &key);
  return rc == SQLITE_OK ? delete_key(t, &key) : rc;
}

static int update(sqlite3_vtab *vtab, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
  (void)rowid;
  spm_table *t = (spm_table *)vtab;
  int rc = spm_kvtxn_begin(t->session);
  if (rc == SQLITE_OK && t->session->options.readonly)
    rc = spm_error(SQLITE_READONLY, "%s is open for reading only", t->session->path);
  if (rc != SQLITE_OK) return spm_table_result(t, rc);
  if (argc == 1)
    rc = delete_row(t, argv[0]);
  else if (sqlite3_value_type(argv[0]) == SQLITE_NULL)
    rc = insert(t, argv[2], argv[3]);
  else
    rc = update_row(t, argv[0], argv[2], argv[3]);
  return spm_table_result(t, rc);
}

/* ------------------------------------------------------------ transactions -- */

static spm_session *session_of(sqlite3_vtab *vtab) { return ((spm_table *)vtab)->session; }

static int begin(sqlite3_vtab *vtab) {
  return spm_table_result((spm_table *)vtab, spm_kvtxn_begin(session_of(vtab)));
}

static int sync_table(sqlite3_vtab *vtab) {
  return spm_table_result((spm_table *)vtab, spm_together_sync(session_of(vtab)));
}

static int commit(sqlite3_vtab *vtab) { return spm_together_commit(session_of(vtab)); }

static int rollback(sqlite3_vtab *vtab) {
  spm_together_rollback(session_of(vtab));
  return SQLITE_OK;
}

static int savepoint(sqlite3_vtab *vtab, int number) { return spm_kvtxn_savepoint(session_of(vtab), number); }

static int release(sqlite3_vtab *vtab, int number) {
  spm_kvtxn_release(session_of(vtab), number);
  return SQLITE_OK;
}

static int rollback_to(sqlite3_vtab *vtab, int number) {
  spm_kvtxn_rollback_to(session_of(vtab), number);
  return SQLITE_OK;
}

static int best_index(sqlite3_vtab *vtab, sqlite3_index_info *info) {
  spm_table *t = (spm_table *)vtab;
  spm_anchor_prepare(t->db);
  return spm_plan(info, t->binary);
}

/* ------------------------------------------------------------------- check -- */

static bool keep_first(void *argument, const char *text) {
  *(char **)argument = sqlite3_mprintf("%s", text);
  return false;
}

/* PRAGMA integrity_check and quick_check, from SQLite 3.44 on. */
static int integrity(sqlite3_vtab *vtab, const char *schema, const char *name, int flags, char **report) {
  spm_table *t = (spm_table *)vtab;
  spm_kv *kv;
  char *text = NULL;
  (void)flags;
  int rc = spm_session_idle(t->session, &kv);
  if (rc == SQLITE_OK) rc = spm_kv_check(kv, keep_first, &text);
  if (rc == SQLITE_NOMEM) return rc;
  if (rc != SQLITE_OK) *report = sqlite3_mprintf("pmemkv table %s.%s: %s", schema, name, text ? text : spm_last_error());
  sqlite3_free(text);
  return SQLITE_OK;
}

/* ------------------------------------------------------------------ module -- */

/* SQLite's structure as it is from 3.44 on; older ones look at its first members only. */
typedef struct module_with_integrity {
#if SQLITE_VERSION_NUMBER >= 3044000
  sqlite3_module base;
#else
  sqlite3_module base;
  int (*xIntegrity)(sqlite3_vtab *, const char *, const char *, int, char **);
#endif
} module_with_integrity;

#define METHODS                                                                                     \
  .iVersion = 4, .xCreate = create, .xConnect = connect, .xBestIndex = best_index,                  \
  .xDisconnect = disconnect, .xDestroy = destroy, .xOpen = spm_scan_open, .xClose = spm_scan_close, \
  .xFilter = spm_scan_filter, .xNext = spm_scan_next, .xEof = spm_scan_eof,                         \
  .xColumn = spm_scan_column, .xRowid = spm_scan_rowid, .xUpdate = update, .xBegin = begin,         \
  .xSync = sync_table, .xCommit = commit, .xRollback = rollback, .xRename = rename_table,           \
  .xSavepoint = savepoint, .xRelease = release, .xRollbackTo = rollback_to

static const module_with_integrity module = {
#if SQLITE_VERSION_NUMBER >= 3044000
    .base = {METHODS, .xIntegrity = integrity},
#else
    .base = {METHODS},
    .xIntegrity = integrity,
#endif
};

int spm_table_register(sqlite3 *db) {
  spm_decision_install();
  int rc = spm_anchor_register(db);
  return rc == SQLITE_OK ? sqlite3_create_module_v2(db, "pmemkv", &module.base, NULL, NULL) : rc;
}
