/*
** anchor.c - see anchor.h.
*/
#include "anchor.h"

#include "kvtxn.h"
#include "together.h"

#include <pthread.h>
#include <string.h>

#define MAKE "CREATE VIRTUAL TABLE IF NOT EXISTS temp.pmemkv_anchor USING pmemkv_anchor"
#define CAST "INSERT INTO temp.pmemkv_anchor SELECT NULL WHERE 0"

/* The anchors of a connection.  The list is under `mutex`, the rest under the connection's. */
typedef struct mooring {
  struct mooring *next; /* of all connections of the process */
  sqlite3 *db;
  uint32_t anchors; /* that there are */
  uint32_t cast;    /* of which this many will tell of the end of the present transaction */
  int savepoints;   /* of it that there are now, as those were told */
  bool doubtful;    /* the schema was read again: their table may be gone */
  bool refused;     /* it could not be made, and the attempt may be in the way of statements */
  bool query_only;  /* the connection was when one was last cast */
  sqlite3_stmt *caster;
} mooring;

typedef struct anchor {
  sqlite3_vtab base;
  mooring *at;
  bool cast;
} anchor;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static mooring *moorings; /* under `mutex` */

/* ------------------------------------------------------------ make and cast -- */

static mooring *find(sqlite3 *db) {
  pthread_mutex_lock(&mutex);
  mooring *m = moorings;
  while (m != NULL && m->db != db) m = m->next;
  pthread_mutex_unlock(&mutex);
  return m;
}

/* To be asked before anything fails for that, which SQLite would log each time. */
static bool is_query_only(sqlite3 *db) {
  sqlite3_stmt *s = NULL;
  bool yes = sqlite3_prepare_v2(db, "PRAGMA query_only", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW &&
             sqlite3_column_int(s, 0) != 0;
  (void)sqlite3_finalize(s);
  return yes;
}

static int make(mooring *m) {
  m->doubtful = false;
  return sqlite3_exec(m->db, MAKE, NULL, NULL, NULL);
}

/* Is it still there?  Before they close a connection some finalize all statements that it has,
** and something else may stand in its place. */
static bool has_caster(const mooring *m) {
  sqlite3_stmt *s = NULL;
  if (m->caster == NULL) return false;
  while ((s = sqlite3_next_stmt(m->db, s)) != NULL)
    if (s == m->caster) return sqlite3_sql(s) != NULL && strcmp(sqlite3_sql(s), CAST) == 0;
  return false;
}

/* The statement keeps its anchor connected, and as long as it is there SQLite will not close
** the connection. */
static void forget_caster(mooring *m) {
  if (has_caster(m)) (void)sqlite3_finalize(m->caster);
  m->caster = NULL;
}

static int run_caster(mooring *m) {
  (void)sqlite3_step(m->caster);
  int rc = sqlite3_reset(m->caster);
  if (rc != SQLITE_OK) forget_caster(m);
  return rc;
}

static int cast(mooring *m) {
  int rc = SQLITE_OK;
  if (m->cast > 0) return rc;
  if (m->query_only && is_query_only(m->db)) return SQLITE_READONLY;
  if (!has_caster(m)) rc = sqlite3_prepare_v3(m->db, CAST, -1, SQLITE_PREPARE_PERSISTENT, &m->caster, NULL);
  if (rc == SQLITE_OK) rc = run_caster(m);
  m->query_only = rc == SQLITE_READONLY;
  return rc;
}

/* There is none, and there will be none the next time: go on without.  What may pass is an
** error, or a transaction would be less than it is elsewhere, and nobody would know. */
static int without(const mooring *m, int rc) {
  switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ERROR:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
    case SQLITE_LOCKED:
      return SQLITE_OK;
    case SQLITE_NOMEM:
      return rc;
  }
  return spm_error(rc, "the table temp.pmemkv_anchor cannot be used: %s", sqlite3_errmsg(m->db));
}

static bool is_running(sqlite3 *db) {
  sqlite3_stmt *s = NULL;
  while ((s = sqlite3_next_stmt(db, s)) != NULL)
    if (sqlite3_stmt_busy(s)) return true;
  return false;
}

/* An attempt that fails resets the schema, if it got that far, and SQLite prepares the
** statement again, and again: so there is one only.  (PRAGMA temp_store, when there was one
** before, makes it fail: SQLite keeps the number of the old schema until somebody looks.) */
void spm_anchor_prepare(sqlite3 *db) {
  mooring *m = find(db);
  if (m->refused || (m->anchors > 0 && !m->doubtful)) return;
  if (!is_running(db) && !is_query_only(db)) m->refused = make(m) != SQLITE_OK;
}

void spm_anchor_doubt(sqlite3 *db) { find(db)->doubtful = true; }

/* Whoever casts is a session, so the statement does not run then. */
void spm_anchor_rest(sqlite3 *db) {
  mooring *m = find(db);
  if (m->caster != NULL && spm_session_following(db, NULL) == NULL) forget_caster(m);
}

/* It stays at least until the transaction ends. */
static int hold(const mooring *m, spm_session *s) {
  if (!s->anchored) s->references++;
  s->anchored = true;
  int rc = spm_kvtxn_begin(s);
  if (rc == SQLITE_OK) spm_kvtxn_older(s, m->savepoints);
  return rc;
}

int spm_anchor_hold(spm_session *s, bool *held) {
  mooring *m = find(s->db);
  int rc = m->cast > 0 ? SQLITE_OK : make(m);
  if (rc == SQLITE_OK) rc = cast(m);
  *held = rc == SQLITE_OK && m->cast > 0;
  return *held ? hold(m, s) : without(m, rc);
}

int spm_anchor_read(spm_session *s) {
  if (s->txn.state != SPM_KVTXN_NONE || sqlite3_get_autocommit(s->db)) return SQLITE_OK;
  mooring *m = find(s->db);
  if (m->anchors == 0) return SQLITE_OK;
  int rc = cast(m);
  return rc == SQLITE_OK && m->cast > 0 ? hold(m, s) : without(m, rc);
}

/* ------------------------------------------------------------ transactions -- */

/* The next of the connection's sessions that are anchored. */
static spm_session *following(const anchor *a, const spm_session *s) {
  spm_session *next = spm_session_following(a->at->db, s);
  while (next != NULL && !next->anchored) next = spm_session_following(a->at->db, next);
  return next;
}

static void set_cast(anchor *a, bool yes) {
  a->at->cast += yes;
  a->at->cast -= a->cast;
  a->cast = yes;
  if (a->at->cast == 0) a->at->savepoints = 0;
}

static int begin(sqlite3_vtab *vtab) {
  set_cast((anchor *)vtab, true);
  return SQLITE_OK;
}

static int sync_all(sqlite3_vtab *vtab) {
  int rc = SQLITE_OK;
  for (spm_session *s = NULL; rc == SQLITE_OK && (s = following((anchor *)vtab, s)) != NULL;) rc = spm_together_sync(s);
  if (rc == SQLITE_OK || rc == SQLITE_NOMEM) return rc;
  sqlite3_free(vtab->zErrMsg);
  vtab->zErrMsg = sqlite3_mprintf("%s", spm_last_error());
  return rc;
}

/* What the transaction was anchored for is over; the session may be, too. */
static int end(anchor *a, void (*how)(spm_session *)) {
  spm_session *next;
  set_cast(a, false);
  for (spm_session *s = following(a, NULL); s != NULL; s = next) {
    how(s);
    next = following(a, s);
    s->anchored = false;
    spm_session_close(s);
  }
  spm_anchor_rest(a->at->db);
  return SQLITE_OK;
}

static void commit_one(spm_session *s) { (void)spm_together_commit(s); }
static int commit(sqlite3_vtab *vtab) { return end((anchor *)vtab, commit_one); }
static int rollback(sqlite3_vtab *vtab) { return end((anchor *)vtab, spm_together_rollback); }

/* One that was just made has not been told of xBegin. */
static int savepoint(sqlite3_vtab *vtab, int number) {
  int rc = begin(vtab);
  ((anchor *)vtab)->at->savepoints = number + 1;
  for (spm_session *s = NULL; rc == SQLITE_OK && (s = following((anchor *)vtab, s)) != NULL;)
    rc = spm_kvtxn_savepoint(s, number);
  return rc;
}

static void forget_savepoints(mooring *m, int from) {
  if (m->savepoints > from) m->savepoints = from;
}

static int release(sqlite3_vtab *vtab, int number) {
  forget_savepoints(((anchor *)vtab)->at, number);
  for (spm_session *s = NULL; (s = following((anchor *)vtab, s)) != NULL;) spm_kvtxn_release(s, number);
  return SQLITE_OK;
}

static int rollback_to(sqlite3_vtab *vtab, int number) {
  forget_savepoints(((anchor *)vtab)->at, number + 1);
  for (spm_session *s = NULL; (s = following((anchor *)vtab, s)) != NULL;) spm_kvtxn_rollback_to(s, number);
  return SQLITE_OK;
}

/* -------------------------------------------------------- create and connect -- */

static int connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **error) {
  (void)argc, (void)argv, (void)error;
  int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(unused)");
  if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
  if (rc != SQLITE_OK) return rc;
  anchor *a = sqlite3_malloc64(sizeof *a);
  if (a == NULL) return SQLITE_NOMEM;
  *a = (anchor){.at = aux};
  a->at->anchors++;
  *out = &a->base;
  return SQLITE_OK;
}

/* Another function than xConnect: the table is none that is there without a CREATE. */
static int create(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **error) {
  return connect(db, aux, argc, argv, out, error);
}

static int disconnect(sqlite3_vtab *vtab) {
  anchor *a = (anchor *)vtab;
  set_cast(a, false);
  a->at->anchors--;
  sqlite3_free(a);
  return SQLITE_OK;
}

/* Nobody would tell of the end then. */
static int destroy(sqlite3_vtab *vtab) { return ((anchor *)vtab)->cast ? SQLITE_LOCKED : disconnect(vtab); }

/* ------------------------------------------------------------ a table of none -- */

static int update(sqlite3_vtab *vtab, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
  (void)argc, (void)argv, (void)rowid;
  sqlite3_free(vtab->zErrMsg);
  vtab->zErrMsg = sqlite3_mprintf("pmemkv_anchor is for the use of pmemkv tables alone");
  return SQLITE_READONLY;
}

static int best_index(sqlite3_vtab *vtab, sqlite3_index_info *info) {
  (void)vtab;
  info->estimatedRows = 0;
  return SQLITE_OK;
}

static int open_scan(sqlite3_vtab *vtab, sqlite3_vtab_cursor **out) {
  (void)vtab;
  *out = sqlite3_malloc64(sizeof **out);
  if (*out == NULL) return SQLITE_NOMEM;
  **out = (sqlite3_vtab_cursor){0};
  return SQLITE_OK;
}

static int close_scan(sqlite3_vtab_cursor *cursor) {
  sqlite3_free(cursor);
  return SQLITE_OK;
}

static int filter(sqlite3_vtab_cursor *cursor, int plan, const char *text, int argc, sqlite3_value **argv) {
  (void)cursor, (void)plan, (void)text, (void)argc, (void)argv;
  return SQLITE_OK;
}

static int at_end(sqlite3_vtab_cursor *cursor) {
  (void)cursor;
  return 1;
}

static int no_row(sqlite3_vtab_cursor *cursor) {
  (void)cursor;
  return SQLITE_INTERNAL;
}

static int no_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int i) {
  (void)context, (void)i;
  return no_row(cursor);
}

static int no_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
  (void)rowid;
  return no_row(cursor);
}

static const sqlite3_module module = {
    .iVersion = 2, .xCreate = create, .xConnect = connect, .xBestIndex = best_index, .xDisconnect = disconnect,
    .xDestroy = destroy, .xOpen = open_scan, .xClose = close_scan, .xFilter = filter, .xNext = no_row,
    .xEof = at_end, .xColumn = no_column, .xRowid = no_rowid, .xUpdate = update, .xBegin = begin,
    .xSync = sync_all, .xCommit = commit, .xRollback = rollback, .xSavepoint = savepoint, .xRelease = release,
    .xRollbackTo = rollback_to};

/* With the module, when the connection is closed. */
static void free_mooring(void *aux) {
  pthread_mutex_lock(&mutex);
  mooring **link = &moorings;
  while (*link != aux) link = &(*link)->next;
  *link = (*link)->next;
  pthread_mutex_unlock(&mutex);
  sqlite3_free(aux);
}

/* What a connection has stays with it when the library is loaded once more.  SQLite frees
** it, also if it fails. */
int spm_anchor_register(sqlite3 *db) {
  if (find(db) != NULL) return SQLITE_OK;
  mooring *m = sqlite3_malloc64(sizeof *m);
  if (m == NULL) return SQLITE_NOMEM;
  *m = (mooring){.db = db};
  pthread_mutex_lock(&mutex);
  m->next = moorings;
  moorings = m;
  pthread_mutex_unlock(&mutex);
  return sqlite3_create_module_v2(db, "pmemkv_anchor", &module, m, free_mooring);
}
