/*
** decision.c - see decision.h.
**
** A reference is text, for it stands in the log in a super-journal's place:
**
**     OFFSET   SIZE  MEANING
**     0        1     'D' a database decides, 'S' a store
**     1        32    id of the prepared store, hexadecimal
**     33       16    number
**     49       32    id of the transaction
**     81             D: name of the VFS, ':', path;  S: path
*/
#include "decision.h"

#include "../../vfs/store/region.h"
#include "kvhost.h"
#include "kvstore.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 1000 /* for whoever has the database locked */

#define STORE_AT 1u
#define NUMBER_AT 33u
#define ID_AT 49u
#define PLACE_AT 81u

/* ------------------------------------------------------------ references -- */

static void put_hex(char *to, const uint8_t *bytes, uint32_t n) {
  static const char digits[] = "0123456789abcdef";
  for (uint32_t i = 0; i < n; i++) {
    *to++ = digits[bytes[i] >> 4];
    *to++ = digits[bytes[i] & 15];
  }
  *to = 0;
}

static bool get_hex(const char *from, uint8_t *bytes, uint32_t n) {
  for (uint32_t i = 0; i < 2 * n; i++) {
    static const char digits[] = "0123456789abcdef";
    const char *digit = from[i] != 0 ? strchr(digits, from[i]) : NULL;
    if (digit == NULL) return false;
    bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | (digit - digits));
  }
  return true;
}

static char *reference(char kind, const spm_decision *d, const char *place) {
  char store[33], id[33];
  put_hex(store, d->store, sizeof d->store);
  put_hex(id, d->id, sizeof d->id);
  return sqlite3_mprintf("%c%s%016llx%s%s", kind, store, (unsigned long long)d->number, id, place);
}

char *spm_decision_in_database(const spm_decision *d, const char *vfs, const char *path) {
  char *place = sqlite3_mprintf("%s:%s", vfs, path);
  char *text = place ? reference('D', d, place) : NULL;
  sqlite3_free(place);
  return text;
}

char *spm_decision_in_store(const spm_decision *d, const char *path) { return reference('S', d, path); }

/* It came from media. */
static bool parse(const char *text, spm_decision *d) {
  uint8_t number[8] = {0};
  if (strlen(text) <= PLACE_AT || (text[0] != 'D' && text[0] != 'S')) return false;
  if (!get_hex(text + STORE_AT, d->store, sizeof d->store) || !get_hex(text + NUMBER_AT, number, sizeof number) ||
      !get_hex(text + ID_AT, d->id, sizeof d->id))
    return false;
  d->number = 0;
  for (size_t i = 0; i < sizeof number; i++) d->number = d->number << 8 | number[i];
  return text[0] == 'S' || strchr(text + PLACE_AT, ':') != NULL;
}

#define KEY_SIZE (sizeof(uint64_t) + SPM_DECISION_ID)

static void make_key(const spm_decision *d, uint8_t key[KEY_SIZE]) {
  for (size_t i = 0; i < sizeof d->number; i++) key[i] = (uint8_t)(d->number >> (56 - 8 * i));
  memcpy(key + sizeof d->number, d->id, sizeof d->id);
}

/* ------------------------------------------------------ a database decides -- */

static int bind(sqlite3_stmt *statement, const spm_decision *d) {
  int rc = sqlite3_bind_blob(statement, 1, d->store, sizeof d->store, SQLITE_STATIC);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(statement, 2, (sqlite3_int64)d->number);
  return rc == SQLITE_OK ? sqlite3_bind_blob(statement, 3, d->id, sizeof d->id, SQLITE_STATIC) : rc;
}

static int prepare(sqlite3 *db, const char *schema, const char *format, sqlite3_stmt **statement) {
  char *sql = sqlite3_mprintf(format, schema);
  int rc = sql ? sqlite3_prepare_v2(db, sql, -1, statement, NULL) : SQLITE_NOMEM;
  sqlite3_free(sql);
  return rc;
}

/* The table is there after the first such transaction; it is made when it is missed. */
static int make_table(sqlite3 *db, const char *schema) {
  char *sql = sqlite3_mprintf("CREATE TABLE IF NOT EXISTS \"%w\".pmemkv_decision(store BLOB PRIMARY KEY,"
                              " number INTEGER NOT NULL, id BLOB NOT NULL) WITHOUT ROWID", schema);
  int rc = sql ? sqlite3_exec(db, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
  sqlite3_free(sql);
  return rc;
}

int spm_decision_write(sqlite3 *db, const char *schema, const spm_decision *d) {
  static const char replace[] = "REPLACE INTO \"%w\".pmemkv_decision(store, number, id) VALUES(?1, ?2, ?3)";
  sqlite3_stmt *statement = NULL;
  int rc = prepare(db, schema, replace, &statement);
  if (rc == SQLITE_ERROR) {
    rc = make_table(db, schema);
    if (rc == SQLITE_OK) rc = prepare(db, schema, replace, &statement);
  }
  if (rc == SQLITE_OK) rc = bind(statement, d);
  if (rc == SQLITE_OK) rc = sqlite3_step(statement) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(db);
  if (rc != SQLITE_OK)
    rc = spm_error(rc, "writing the decision of a transaction over keys and tables to schema %s: %s", schema, sqlite3_errmsg(db));
  (void)sqlite3_finalize(statement);
  return rc;
}

/* A database without the table has no decision in it. */
static int find_row(sqlite3 *db, const spm_decision *d, bool *found) {
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_schema WHERE name = 'pmemkv_decision'", -1, &statement, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(statement);
  (void)sqlite3_finalize(statement);
  *found = false;
  if (rc == SQLITE_DONE) return SQLITE_OK;
  if (rc != SQLITE_ROW) return rc;
  rc = sqlite3_prepare_v2(db, "SELECT 1 FROM main.pmemkv_decision WHERE store = ?1 AND number = ?2 AND id = ?3", -1,
                          &statement, NULL);
  if (rc != SQLITE_OK) return rc;
  rc = bind(statement, d);
  if (rc == SQLITE_OK) rc = sqlite3_step(statement);
  (void)sqlite3_finalize(statement);
  *found = rc == SQLITE_ROW;
  return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Whoever wrote the row may have died before its database was durable: in a WAL without its
** sync, or with a journal removed from a folder without one.  What is seen must be what
** a power loss leaves, or the keys would be committed alone. */
static int make_durable(sqlite3 *db, const char *path) {
  static const int files[] = {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER};
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < sizeof files / sizeof *files; i++) {
    sqlite3_file *file = NULL;
    rc = sqlite3_file_control(db, "main", files[i], &file);
    if (rc == SQLITE_OK && file != NULL && file->pMethods != NULL) rc = file->pMethods->xSync(file, SQLITE_SYNC_FULL);
  }
  return rc == SQLITE_OK ? spm_folder_fsync(path) : rc;
}

/* Who is locked has been waited for: an extended code, or the opening would begin again, in
** the hope of a gate that others hold. */
static int in_doubt(int rc, const char *path, const char *decider, const char *why) {
  return spm_error((rc & 0xff) == SQLITE_BUSY ? SQLITE_BUSY_RECOVERY : SQLITE_CANTOPEN,
                   "%s: whether its last transaction is committed stands in %s, and that cannot be read now (%s): make "
                   "it readable, or decide with SELECT pmem_resolve('%s', 'commit') or 'rollback'",
                   path, decider, why, path);
}

/* Its own VFS, a cache of its own; the first read runs SQLite's recovery. */
static int ask_database(const char *path, const spm_decision *d, const char *place, bool *committed) {
  const char *file = strchr(place, ':') + 1;
  char *vfs = sqlite3_mprintf("%.*s", (int)(file - 1 - place), place);
  if (vfs == NULL) return SQLITE_NOMEM;
  if (access(file, F_OK) != 0) {
    sqlite3_free(vfs);
    return in_doubt(SQLITE_CANTOPEN, path, file, "it is gone, or was moved");
  }
  sqlite3 *db = NULL;
  int rc = sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE, vfs);
  if (rc == SQLITE_OK) rc = sqlite3_busy_timeout(db, WAIT_MS);
  if (rc == SQLITE_OK) rc = find_row(db, d, committed);
  const char *why = rc == SQLITE_OK ? "what it says cannot be made durable" : db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
  if (rc == SQLITE_OK && *committed) rc = make_durable(db, file);
  if (rc != SQLITE_OK) rc = in_doubt(rc, path, file, why);
  (void)sqlite3_close(db);
  sqlite3_free(vfs);
  return rc;
}

/* --------------------------------------------------------- a store decides -- */

int spm_decision_put(spm_kv *kv, const spm_decision *d) {
  uint8_t key[KEY_SIZE];
  spm_tree tree;
  make_key(d, key);
  int rc = spm_kv_tree(kv, SPM_DECISION_TREE, &tree);
  if (rc == SQLITE_NOTFOUND) rc = spm_kv_tree_create(kv, SPM_DECISION_TREE, &tree);
  return rc == SQLITE_OK ? spm_tree_put(&tree, key, sizeof key, "", 0) : rc;
}

int spm_decision_forget(spm_kv *kv, const spm_decision *d) {
  uint8_t key[KEY_SIZE];
  spm_tree tree;
  make_key(d, key);
  int rc = spm_kv_begin(kv);
  if (rc != SQLITE_OK) return rc;
  rc = spm_kv_tree(kv, SPM_DECISION_TREE, &tree);
  if (rc == SQLITE_OK) rc = spm_tree_delete(&tree, key, sizeof key);
  if (rc == SQLITE_OK) return spm_kv_commit(kv);
  spm_kv_rollback(kv);
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

static int find_key(spm_kv *kv, const spm_decision *d, bool *found) {
  uint8_t key[KEY_SIZE];
  spm_tree tree;
  spm_value value;
  make_key(d, key);
  int rc = spm_kv_snapshot_begin(kv);
  if (rc != SQLITE_OK) return rc;
  rc = spm_kv_tree(kv, SPM_DECISION_TREE, &tree);
  if (rc == SQLITE_OK) rc = spm_tree_get(&tree, key, sizeof key, &value);
  spm_kv_snapshot_end(kv);
  *found = rc == SQLITE_OK;
  return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

static int ask_store(const char *path, const spm_decision *d, const char *decider, bool *committed) {
  spm_kv *kv = NULL;
  int rc = spm_kv_open(decider, &(spm_kv_options){0}, &kv);
  if (rc == SQLITE_OK) rc = find_key(kv, d, committed);
  if (rc != SQLITE_OK) rc = in_doubt(rc, path, decider, spm_last_error());
  spm_kv_close(kv, false);
  return rc;
}

/* ------------------------------------------------------------------- asking -- */

/* A person's answer, for the calling thread while it opens that store. */
static _Thread_local struct {
  const char *path; /* NULL: none */
  bool commit, asked;
} by_hand;

int spm_decision_settle(const char *path, bool commit, bool *asked) {
  spm_kv *kv = NULL;
  by_hand.path = path;
  by_hand.commit = commit;
  by_hand.asked = false;
  int rc = spm_kv_open(path, &(spm_kv_options){0}, &kv);
  by_hand.path = NULL;
  *asked = by_hand.asked;
  spm_kv_close(kv, false);
  return rc;
}

int spm_decision_ask(const char *path, const char *text, bool *committed) {
  spm_decision d;
  if (by_hand.path != NULL && strcmp(by_hand.path, path) == 0) {
    by_hand.asked = true;
    *committed = by_hand.commit;
    return SQLITE_OK;
  }
  if (!parse(text, &d)) return spm_error(SQLITE_CORRUPT, "%s: its prepared transaction has no readable reference", path);
  return text[0] == 'D' ? ask_database(path, &d, text + PLACE_AT, committed) : ask_store(path, &d, text + PLACE_AT, committed);
}

/* A row is replaced by the next; a key goes when nobody will ask for it any more. */
static int settled(const char *path, const char *text) {
  (void)path;
  spm_decision d;
  spm_kv *kv = NULL;
  if (text[0] != 'S' || !parse(text, &d)) return SQLITE_OK;
  int rc = spm_kv_open(text + PLACE_AT, &(spm_kv_options){0}, &kv);
  if (rc == SQLITE_OK) rc = spm_decision_forget(kv, &d);
  spm_kv_close(kv, false);
  if (rc != SQLITE_OK) spm_notice("%s keeps a decision that nobody needs any more: %s", text + PLACE_AT, spm_last_error());
  return SQLITE_OK;
}

void spm_decision_install(void) { spm_kv_host_decisions = (spm_kv_decisions){spm_decision_ask, settled}; }
