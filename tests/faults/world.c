/*
** world.c - see world.h.
*/
#define _GNU_SOURCE
#include "world.h"

#include "inject.h"

#include "../../ext/kv/kvcheck.h"
#include "../../ext/kv/table.h"
#include "../../vfs/dbfile.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void world_broken(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)fprintf(stderr, "the surroundings fail: ");
  (void)vfprintf(stderr, format, arguments);
  (void)fprintf(stderr, "\n");
  va_end(arguments);
  _exit(3);
}

/* ------------------------------------------------------------------ files -- */

static const char *path_in(const world *w, const char *folder, const char *name) {
  static char paths[8][512];
  static unsigned turn;
  char *path = paths[turn++ % 8];
  (void)snprintf(path, sizeof *paths, "%s/%s/%s", w->base, folder, name);
  return path;
}

const char *world_path(const world *w, const char *name) { return path_in(w, "case", name); }
bool world_exists(const world *w, const char *name) { return access(world_path(w, name), F_OK) == 0; }

static void copy(const char *from, const char *to) {
  struct stat status;
  int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  world_must(in >= 0 && out >= 0 && fstat(in, &status) == 0, "copying %s to %s", from, to);
  for (off_t at = 0; at < status.st_size;)
    world_must(sendfile(out, in, &at, (size_t)(status.st_size - at)) > 0, "copying %s to %s", from, to);
  close(in);
  close(out);
}

/* Call `visit` for every file of a folder. */
static void each_file(const world *w, const char *folder, void (*visit)(const world *, const char *, void *),
                      void *argument) {
  DIR *d = opendir(path_in(w, folder, "."));
  world_must(d != NULL, "no folder %s", folder);
  for (struct dirent *e; (e = readdir(d)) != NULL;)
    if (e->d_name[0] != '.') visit(w, e->d_name, argument);
  (void)closedir(d);
}

static void remove_one(const world *w, const char *name, void *folder) {
  world_must(remove(path_in(w, folder, name)) == 0, "removing %s", name);
}
typedef struct folders {
  const char *from, *to;
} folders;

static void copy_one(const world *w, const char *name, void *argument) {
  const folders *f = argument;
  size_t n = strlen(name);
  if (n > 6 && strcmp(name + n - 6, "-pmshm") == 0) return; /* volatile */
  copy(path_in(w, f->from, name), path_in(w, f->to, name));
}
static void copy_folder(const world *w, const char *from, const char *to) {
  folders f = {from, to};
  each_file(w, from, copy_one, &f);
}

static void clear(const world *w, const char *folder) {
  each_file(w, folder, remove_one, (void *)(uintptr_t)folder);
}

void world_clean(const world *w) {
  clear(w, "case");
  clear(w, "crash");
}
void world_keep(const world *w) {
  clear(w, "crash");
  copy_folder(w, "case", "crash");
}
void world_restore(const world *w) {
  clear(w, "case");
  copy_folder(w, "crash", "case");
}

static void find_stray(const world *w, const char *name, void *found) {
  static char stray[256];
  if (strcmp(name, "a.db") == 0 || strcmp(name, "b.db") == 0) return;
  if (w->keys && (strcmp(name, "a.db-pmemkv") == 0 || strcmp(name, "second.kv") == 0)) return;
  if (w->target != NULL && strncmp(name, w->target, strlen(w->target)) == 0) return;
  (void)snprintf(stray, sizeof stray, "%s", name);
  *(const char **)found = stray;
}
const char *world_stray(const world *w) {
  const char *found = NULL;
  each_file(w, "case", find_stray, &found);
  return found;
}

static const char *const suffixes[] = {"", "-journal", "-wal", "-pmlog", "-pmemkv", "-pmemkv-pmlog"};

static void copy_database(const char *from, const char *to) {
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    char source[600], target[600];
    (void)snprintf(source, sizeof source, "%s%s", from, suffixes[i]);
    (void)snprintf(target, sizeof target, "%s%s", to, suffixes[i]);
    if (access(source, F_OK) == 0) copy(source, target);
  }
}

void world_use(const world *w, const char *image, const char *name) {
  copy_database(path_in(w, "images", image), world_path(w, name));
}
void world_use_prepared(const world *w) { copy_folder(w, "prepared", "case"); }
void world_use_prepared_keys(const world *w) { copy_folder(w, "tied", "case"); }

static void remove_super(const world *w, const char *name, void *found) {
  if (strstr(name, "-mj") == NULL) return;
  remove_one(w, name, (void *)(uintptr_t) "case");
  *(bool *)found = true;
}
bool world_remove_super(const world *w) {
  bool found = false;
  each_file(w, "case", remove_super, &found);
  return found;
}

/* ------------------------------------------------------------- connections -- */

int world_open(const world *w, const char *name, const char *vfs, const char *parameters, sqlite3 **db) {
  char uri[700];
  (void)snprintf(uri, sizeof uri, "file:%s?vfs=%s%s%s", world_path(w, name), vfs, parameters ? "&" : "",
                 parameters ? parameters : "");
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;
  int rc = sqlite3_open_v2(uri, db, flags, NULL);
  if (rc == SQLITE_OK && w->keys) rc = spm_table_register(*db);
  return rc == SQLITE_OK ? sqlite3_extended_result_codes(*db, 1) : *db ? sqlite3_extended_errcode(*db) : rc;
}

spm_conn *world_conn(sqlite3 *db) {
  sqlite3_file *file = NULL;
  (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  const spm_dbfile *f = spm_dbfile_of(file);
  return f != NULL ? f->conn : NULL;
}

int world_sql(sqlite3 *db, const char *sql) {
  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  return rc == SQLITE_OK ? rc : sqlite3_extended_errcode(db);
}

void world_run(sqlite3 *db, const char *sql) {
  world_must(world_sql(db, sql) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
}

sqlite3 *world_attached(const world *w, const char *name) {
  sqlite3 *db;
  world_must(world_open(w, name, w->vfs ? w->vfs : "pmem", w->options, &db) == SQLITE_OK, "opening %s", name);
  world_run(db, "SELECT count(*) FROM sqlite_schema");
  return db;
}

int world_commit(world *w, sqlite3 *db, const char *sql) {
  if (w->acknowledged == w->limit) return SQLITE_OK;
  int rc = world_sql(db, sql);
  w->acknowledged += rc == SQLITE_OK;
  return rc;
}

/* ----------------------------------------------------------------- content -- */

static int hash_rows(sqlite3 *db, const char *sql, XXH3_state_t *hash) {
  sqlite3_stmt *s;
  int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
  if (rc != SQLITE_OK) return rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW)
    for (int i = 0; i < sqlite3_column_count(s); i++) {
      int type = sqlite3_column_type(s, i);
      const void *bytes = sqlite3_column_blob(s, i);
      int n = sqlite3_column_bytes(s, i);
      (void)XXH3_64bits_update(hash, &type, sizeof type);
      (void)XXH3_64bits_update(hash, &n, sizeof n);
      if (n > 0 && bytes != NULL) (void)XXH3_64bits_update(hash, bytes, (size_t)n);
    }
  return sqlite3_finalize(s);
}

static int hash_tables(sqlite3 *db, XXH3_state_t *hash, bool *empty) {
  sqlite3_stmt *s;
  int rc = sqlite3_prepare_v2(
      db,
      "SELECT name, iif(sql LIKE 'CREATE VIRTUAL%', 'key', 'rowid') FROM sqlite_schema WHERE type='table'"
      " AND name NOT IN ('after', 'later', 'pmemkv_decision') ORDER BY name",
      -1, &s, NULL);
  if (rc != SQLITE_OK) return rc;
  int found = SQLITE_OK;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW && found == SQLITE_OK) {
    char *sql = sqlite3_mprintf("SELECT '%q', * FROM \"%w\" ORDER BY %s", sqlite3_column_text(s, 0),
                                sqlite3_column_text(s, 0), sqlite3_column_text(s, 1));
    *empty = false;
    found = sql ? hash_rows(db, sql, hash) : SQLITE_NOMEM;
    if (sql != NULL && found != SQLITE_OK) found = sqlite3_extended_errcode(db); /* before the next call forgets it */
    sqlite3_free(sql);
  }
  if (found != SQLITE_OK) {
    (void)sqlite3_finalize(s);
    return found;
  }
  return sqlite3_finalize(s) == SQLITE_OK ? SQLITE_OK : sqlite3_extended_errcode(db);
}

int world_content_of(sqlite3 *db, uint64_t *content) {
  XXH3_state_t hash;
  bool empty = true;
  (void)XXH3_64bits_reset(&hash);
  int rc = hash_tables(db, &hash, &empty);
  *content = empty ? 0 : XXH3_64bits_digest(&hash);
  return rc;
}

static int check_integrity(sqlite3 *db) {
  sqlite3_stmt *s;
  int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, NULL);
  if (rc != SQLITE_OK) return rc;
  rc = sqlite3_step(s);
  bool whole = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
  if (!whole && rc == SQLITE_ROW) (void)fprintf(stderr, "  integrity_check: %s\n", sqlite3_column_text(s, 0));
  rc = sqlite3_finalize(s);
  return rc == SQLITE_OK && !whole ? SQLITE_CORRUPT : rc;
}

/* ------------------------------------------------------------------- keys -- */

static bool tell_fault(void *path, const char *text) {
  (void)fprintf(stderr, "  %s: %s\n", (const char *)path, text);
  return true;
}

static int check_store(const world *w, const char *name) {
  spm_kv *kv = NULL;
  char *path = (char *)(uintptr_t)world_path(w, name);
  if (!w->keys || !world_exists(w, name)) return SQLITE_OK;
  int rc = spm_kv_open(path, &(spm_kv_options){0}, &kv);
  if (rc == SQLITE_OK) rc = spm_kv_check(kv, tell_fault, path);
  spm_kv_close(kv, false);
  return rc;
}

bool world_poisoned(sqlite3 *db, const char *but) {
  const spm_conn *conn = world_conn(db);
  bool poisoned = conn != NULL && spm_conn_poisoned(conn);
  for (spm_session *s = NULL; (s = spm_session_following(db, s)) != NULL;) {
    if (but != NULL && strstr(s->path, but) != NULL) continue;
    for (const spm_view *v = s->readers; v != NULL; v = v->next) poisoned |= spm_conn_poisoned(spm_kv_conn(v->kv));
  }
  return poisoned;
}

static const char *write_of(const world *w) {
  return w->keys ? "BEGIN; CREATE TABLE IF NOT EXISTS after(x); INSERT INTO after VALUES('reopened');"
                   "INSERT OR REPLACE INTO later VALUES('reopened', 1); COMMIT"
                 : "CREATE TABLE IF NOT EXISTS after(x); INSERT INTO after VALUES('reopened')";
}

int world_examine(const world *w, const char *vfs, bool write, uint64_t *content) {
  static const char *const names[WORLD_FILES] = {"a.db", "b.db"};
  int rc = SQLITE_OK;
  *content = 0;
  for (int i = 0; rc == SQLITE_OK && i < WORLD_FILES; i++) {
    sqlite3 *db;
    uint64_t one = 0;
    if (!world_exists(w, names[i])) continue;
    rc = world_open(w, names[i], i == 1 && w->stock_second ? "unix" : vfs, NULL, &db);
    if (rc == SQLITE_OK) rc = world_content_of(db, &one);
    if (rc == SQLITE_OK) rc = check_integrity(db);
    if (rc == SQLITE_OK && write)
      rc = world_sql(db, write_of(w));
    if (rc != SQLITE_OK) (void)fprintf(stderr, "  %s on %s: %d, %s\n", names[i], vfs, rc, sqlite3_errmsg(db));
    (void)sqlite3_close(db);
    *content = *content * 31 + one;
  }
  if (rc == SQLITE_OK) rc = check_store(w, "a.db-pmemkv");
  return rc == SQLITE_OK ? check_store(w, "second.kv") : rc;
}

/* ------------------------------------------------------------------- peers -- */

static void peer_work(const world *w, int in, int out) {
  peer_report report = {0};
  char byte = 'r';
  sqlite3 *db = world_attached(w, "a.db");
  world_must(write(out, &byte, 1) == 1, "the peer's pipe");
  if (read(in, &byte, 1) != 1) _exit(0);
  report.read_code = world_content_of(db, &report.content);
  report.write_code = world_sql(db, "INSERT INTO after VALUES('peer')");
  (void)sqlite3_close(db);
  world_must(write(out, &report, sizeof report) == sizeof report, "the peer's pipe");
  _exit(0);
}

void world_start_peer(world *w) {
  int there[2], back[2];
  char byte;
  world_must(pipe2(there, O_CLOEXEC) == 0 && pipe2(back, O_CLOEXEC) == 0, "no pipes");
  w->peer = fork();
  world_must(w->peer >= 0, "no process");
  if (w->peer == 0) {
    close(there[1]);
    close(back[0]);
    peer_work(w, there[0], back[1]);
  }
  close(there[0]);
  close(back[1]);
  w->to_peer = there[1];
  w->from_peer = back[0];
  world_must(read(w->from_peer, &byte, 1) == 1, "the peer died");
}

void world_ask_peer(world *w, peer_report *report) {
  world_must(write(w->to_peer, "g", 1) == 1, "the peer's pipe");
  world_must(read(w->from_peer, report, sizeof *report) == sizeof *report, "the peer died");
  world_must(waitpid(w->peer, NULL, 0) == w->peer, "the peer is gone");
  close(w->to_peer);
  close(w->from_peer);
  w->peer = 0;
}

void world_dead_writer(const world *w, const char *sql, unsigned long n) {
  int status;
  pid_t pid = fork();
  world_must(pid >= 0, "no process");
  if (pid == 0) {
    sqlite3 *db = world_attached(w, "a.db");
    fault_die_at(FAULT_WRITE, n);
    (void)world_sql(db, sql);
    _exit(0);
  }
  world_must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "the writer has no write %lu to die at",
             n);
}

/* ------------------------------------------------------------------ images -- */

static const char *const plain_sql =
    "CREATE TABLE t(k INTEGER PRIMARY KEY, v INTEGER, b TEXT); CREATE INDEX i ON t(v); CREATE TABLE after(x);"
    "CREATE TABLE u(a UNIQUE); INSERT INTO u VALUES(1), (2), (3);"
    "WITH n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < 150)"
    " INSERT INTO t SELECT k, k * 10, replace(hex(zeroblob(1000)), '0', char(65 + k % 26)) FROM n";

/* Build a database in the case's folder and keep it, open as it is, as an image. */
static void make(const world *w, const char *image, const char *vfs, const char *setup, const char *half) {
  sqlite3 *db;
  world_must(world_open(w, "a.db", vfs, NULL, &db) == SQLITE_OK, "opening an image");
  if (setup != NULL) world_run(db, setup);
  world_run(db, plain_sql);
  if (half != NULL) world_run(db, half);
  if (half == NULL) world_must(sqlite3_close(db) == SQLITE_OK, "closing an image");
  copy_database(world_path(w, "a.db"), path_in(w, "images", image));
  if (half != NULL) world_must(sqlite3_close(db) == SQLITE_OK, "closing an image");
  world_clean(w);
}

/* Two databases that a crash left in the middle of one commit: prepared, both of them,
** and the super-journal still there. */
static void make_prepared(const world *w) {
  int status;
  world_use(w, "plain", "a.db");
  world_use(w, "plain", "b.db");
  pid_t pid = fork();
  world_must(pid >= 0, "no process");
  if (pid == 0) {
    char *attach = sqlite3_mprintf("ATTACH 'file:%s?vfs=pmem' AS b", world_path(w, "b.db"));
    sqlite3 *db = world_attached(w, "a.db");
    world_run(db, attach);
    world_run(db, "UPDATE b.t SET v = v WHERE k = 1");
    fault_die_at(F_s_unlink, 1);
    (void)world_sql(db, "BEGIN; UPDATE main.t SET v = 7; UPDATE b.t SET v = 8; COMMIT");
    _exit(0);
  }
  world_must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "no commit of two databases to die in");
  copy_folder(w, "case", "prepared");
  world_clean(w);
}

static const char *const keys_sql =
    "CREATE TABLE t(k INTEGER PRIMARY KEY, v INTEGER); CREATE TABLE after(x);"
    "WITH n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < 20) INSERT INTO t SELECT k, k * 10 FROM n;"
    "CREATE VIRTUAL TABLE keys USING pmemkv(); CREATE VIRTUAL TABLE later USING pmemkv();"
    "WITH n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < 120)"
    " INSERT INTO keys SELECT 'user:' || k, substr(hex(zeroblob(60)), k % 90) FROM n;"
    "INSERT INTO keys VALUES('large', zeroblob(30000)), (1, -0.0), (x'00', NULL)";

/* A database with a store of keys beside it; `half`: what is left open. */
static void make_keys(const world *w, const char *image, const char *vfs, const char *setup, const char *half) {
  sqlite3 *db;
  world with_keys = *w;
  with_keys.keys = true;
  world_must(world_open(&with_keys, "a.db", vfs, NULL, &db) == SQLITE_OK, "opening an image");
  if (setup != NULL) world_run(db, setup);
  world_run(db, keys_sql);
  if (half != NULL) world_run(db, half);
  if (half == NULL) world_must(sqlite3_close(db) == SQLITE_OK, "closing an image");
  copy_database(world_path(w, "a.db"), path_in(w, "images", image));
  if (half != NULL) world_must(sqlite3_close(db) == SQLITE_OK, "closing an image");
  world_clean(w);
}

/* Keys that are prepared under a row of a stock database, whose journal is hot. */
static void make_tied(const world *w) {
  int status;
  world_use(w, "keys", "a.db");
  pid_t pid = fork();
  world_must(pid >= 0, "no process");
  if (pid == 0) {
    world with_keys = *w;
    with_keys.keys = true;
    with_keys.vfs = "unix";
    sqlite3 *db = world_attached(&with_keys, "a.db");
    world_run(db, "INSERT INTO after VALUES('before'); INSERT INTO later VALUES('before', 1)");
    world_run(db, "BEGIN; UPDATE t SET v = 7; DELETE FROM keys WHERE key > 'user:5'; UPDATE keys SET value = 8");
    fault_die_at(F_s_unlink, 1);
    (void)world_sql(db, "COMMIT");
    _exit(0);
  }
  world_must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "no commit of tables and keys to die in");
  copy_folder(w, "case", "tied");
  world_clean(w);
}

void world_make_images(const world *w) {
  static const char *const made[] = {"case", "crash", "images", "prepared", "tied"};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) world_must(mkdir(path_in(w, made[i], ""), 0700) == 0, "making %s", made[i]);
  make(w, "plain", "unix", NULL, NULL);
  make(w, "auto", "unix", "PRAGMA auto_vacuum=FULL", NULL);
  make(w, "persist", "unix", "PRAGMA journal_mode=PERSIST", NULL);
  make(w, "wal", "unix", "PRAGMA journal_mode=WAL", "UPDATE t SET v = v + 1");
  make(w, "hot", "unix", "PRAGMA cache_size=2", "BEGIN; UPDATE t SET b = b || k, v = 0");
  make(w, "crashed", "pmem", NULL, "UPDATE t SET v = v + 1; DELETE FROM t WHERE k > 40");
  make_prepared(w);
  make_keys(w, "keys", "unix", NULL, NULL);
  make_keys(w, "wal keys", "unix", "PRAGMA journal_mode=WAL", NULL);
  make_keys(w, "crashed keys", "pmem", NULL, "DELETE FROM keys WHERE key > 'user:5'; UPDATE keys SET value = 'x'");
  make_tied(w);
}
