/*
** sqlmodel.c - see sqlmodel.h.
*/
#include "sqlmodel.h"

#include "../ext/kv/table.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAVEPOINTS_MAX 5
#define SCANS 3
#define PARAMETERS_MAX 12

typedef struct model {
  sqlmodel_options *options;
  sqlite3 *db;
  uint64_t random;
  unsigned long step, errors, points;
  int savepoints;         /* open ones, named s0, s1 ... */
  struct scan {
    sqlite3_stmt *kv;     /* on the pmemkv table; NULL: none */
    sqlite3_stmt *copy;   /* what it had to show then        */
  } scans[SCANS];
  unsigned long copies;
} model;

static uint64_t next_random(model *m) {
  m->random ^= m->random << 13;
  m->random ^= m->random >> 7;
  m->random ^= m->random << 17;
  return m->random;
}
static unsigned below(model *m, unsigned n) { return (unsigned)(next_random(m) >> 11) % n; }

/* ------------------------------------------------------------ differences -- */

static _Noreturn void differ(const model *m, const char *sql, const char *format, ...) {
  va_list arguments;
  (void)fprintf(stderr, "sqlmodel: seed %llu, %s, schema %s, step %lu: %s\n  ", (unsigned long long)m->options->seed,
                m->options->encoding, m->options->schema, m->step, sql);
  va_start(arguments, format);
  (void)vfprintf(stderr, format, arguments);
  va_end(arguments);
  (void)fputc('\n', stderr);
  abort();
}

static void must(model *m, const char *sql) {
  char *error = NULL;
  if (sqlite3_exec(m->db, sql, NULL, NULL, &error) != SQLITE_OK) differ(m, sql, "%s", error ? error : "?");
}

static bool same_column(sqlite3_stmt *a, sqlite3_stmt *b, int i) {
  if (sqlite3_column_type(a, i) != sqlite3_column_type(b, i)) return false;
  double x, y;
  switch (sqlite3_column_type(a, i)) {
    case SQLITE_INTEGER: return sqlite3_column_int64(a, i) == sqlite3_column_int64(b, i);
    case SQLITE_FLOAT:
      x = sqlite3_column_double(a, i);
      y = sqlite3_column_double(b, i);
      return memcmp(&x, &y, sizeof x) == 0;
    case SQLITE_NULL: return true;
    default: break;
  }
  const void *p = sqlite3_column_blob(a, i), *q = sqlite3_column_blob(b, i);
  int n = sqlite3_column_bytes(a, i);
  return sqlite3_column_bytes(b, i) == n && (n == 0 || memcmp(p, q, (size_t)n) == 0);
}

static void same_row(const model *m, const char *sql, sqlite3_stmt *kv, sqlite3_stmt *t) {
  for (int i = 0; i < sqlite3_column_count(kv); i++)
    if (!same_column(kv, t, i))
      differ(m, sql, "column %d: kv has type %d [%s], t has type %d [%s]", i, sqlite3_column_type(kv, i),
             (const char *)sqlite3_column_text(kv, i), sqlite3_column_type(t, i), (const char *)sqlite3_column_text(t, i));
}

/* ---------------------------------------------------------- random values -- */

typedef struct value {
  int type;
  int64_t integer;
  double real;
  char bytes[40];
  int size;
  int repeat; /* bytes of a long blob, all the same */
} value;

/* Few enough keys to meet again, of all types, some equal as numbers and not as types. */
static value random_key(model *m) {
  static const double reals[] = {0.0, -0.0, 1.0, 1.5, 2.0, -3.0, 9007199254740993.0, 1e300, -1e-300, __builtin_inf()};
  static const char *const texts[] = {"", "a", "USER:3", "B", "user:", "12", "caf\xC3\xA9", "user:1\xF0\x9F\x98\x80"};
  value v = {.type = SQLITE_INTEGER};
  switch (below(m, 10)) {
    case 0: v.type = SQLITE_FLOAT; v.real = reals[below(m, 10)]; break;
    case 1: v.type = SQLITE_FLOAT; v.real = (double)below(m, 30); break;
    case 2:
    case 3:
    case 4: v.type = SQLITE_TEXT; v.size = snprintf(v.bytes, sizeof v.bytes, "user:%u", below(m, 40)); break;
    case 5: v.type = SQLITE_TEXT; v.size = snprintf(v.bytes, sizeof v.bytes, "%s", texts[below(m, 8)]); break;
    case 6: v.type = SQLITE_BLOB; v.size = snprintf(v.bytes, sizeof v.bytes, "user:%u", below(m, 9)); break;
    case 7: v.integer = below(m, 2) ? INT64_MAX - below(m, 3) : INT64_MIN + below(m, 3); break;
    default: v.integer = (int64_t)below(m, 60) - 10;
  }
  if (v.type == SQLITE_BLOB && below(m, 4) == 0) v.size = 0;
  return v;
}

static value random_value(model *m) {
  value v = {.type = SQLITE_NULL};
  unsigned r = below(m, 12);
  if (r == 0) return v;
  if (r < 8) return random_key(m);
  v.type = r < 10 ? SQLITE_TEXT : SQLITE_BLOB;
  v.repeat = r == 11 && below(m, 5) == 0 ? (int)below(m, 20000) : (int)below(m, 400);
  v.bytes[0] = (char)('a' + below(m, 26));
  return v;
}

static void bind(sqlite3_stmt *s, int i, const value *v) {
  char *longer = v->repeat > 0 ? sqlite3_malloc(v->repeat) : NULL;
  const char *bytes = longer ? longer : v->bytes;
  int size = longer ? v->repeat : v->size;
  if (longer != NULL) memset(longer, v->bytes[0], (size_t)v->repeat);
  switch (v->type) {
    case SQLITE_INTEGER: (void)sqlite3_bind_int64(s, i, v->integer); break;
    case SQLITE_FLOAT: (void)sqlite3_bind_double(s, i, v->real); break;
    case SQLITE_TEXT: (void)sqlite3_bind_text(s, i, bytes, size, SQLITE_TRANSIENT); break;
    case SQLITE_BLOB: (void)sqlite3_bind_blob(s, i, size ? bytes : "", size, SQLITE_TRANSIENT); break;
    default: (void)sqlite3_bind_null(s, i);
  }
  sqlite3_free(longer);
}

/* -------------------------------------------------------------- statements -- */

/* `sql` has %s where the table's name goes, once for each time it occurs. */
static sqlite3_stmt *prepare(const model *m, const char *sql, const char *table) {
  sqlite3_stmt *s;
  char *text = sqlite3_mprintf(sql, table, table);
  if (sqlite3_prepare_v2(m->db, text, -1, &s, NULL) != SQLITE_OK) differ(m, text, "%s", sqlite3_errmsg(m->db));
  sqlite3_free(text);
  return s;
}

static sqlite3_stmt *prepare_bound(const model *m, const char *sql, const char *table, const value *values) {
  sqlite3_stmt *s = prepare(m, sql, table);
  for (int i = 0; i < sqlite3_bind_parameter_count(s); i++) bind(s, i + 1, &values[i]);
  return s;
}

static const char *name_in_schema(const model *m) {
  return strcmp(m->options->schema, "temp") == 0 ? "temp.kv" : "main.kv";
}

/* OR ROLLBACK and a failed COMMIT end the transaction. */
static void notice_end(model *m) {
  if (sqlite3_get_autocommit(m->db)) m->savepoints = 0;
}

/* On the pmemkv table first: what it leaves behind must not depend on the other. */
static void on_both(model *m, const char *sql, const value *values) {
  sqlite3_stmt *kv = prepare_bound(m, sql, name_in_schema(m), values), *t = prepare_bound(m, sql, "main.t", values);
  bool autocommit = sqlite3_get_autocommit(m->db) != 0;
  int a, b = SQLITE_DONE, changed_kv, changed_t;
  do {
    a = sqlite3_step(kv);
    if (!sqlite3_stmt_readonly(kv)) {
      changed_kv = sqlite3_changes(m->db);
      a = a == SQLITE_DONE ? a : sqlite3_reset(kv);
      /* OR ROLLBACK has taken what the other would have met. */
      if (!autocommit && sqlite3_get_autocommit(m->db)) break;
      b = sqlite3_step(t);
      b = b == SQLITE_DONE ? b : sqlite3_reset(t);
      changed_t = sqlite3_changes(m->db);
      if (a == SQLITE_DONE && changed_kv != changed_t)
        differ(m, sql, "kv changed %d rows, t changed %d", changed_kv, changed_t);
    } else {
      b = sqlite3_step(t);
    }
    if (a != b) differ(m, sql, "kv: %d, t: %d, %s", a, b, sqlite3_errmsg(m->db));
    if (a == SQLITE_ROW) same_row(m, sql, kv, t);
  } while (a == SQLITE_ROW);
  if (a != SQLITE_DONE) m->errors++;
  (void)sqlite3_finalize(kv);
  (void)sqlite3_finalize(t);
  notice_end(m);
}

static void write_something(model *m) {
  static const char *const inserts[] = {
      "INSERT INTO %s VALUES(?1, ?2)", "INSERT OR REPLACE INTO %s VALUES(?1, ?2)", "INSERT OR IGNORE INTO %s VALUES(?1, ?2), (?3, ?4)",
      "INSERT OR REPLACE INTO %s VALUES(?1, ?2), (?3, ?4), (?5, ?6)", "INSERT INTO %s VALUES(?1, ?2), (?3, ?4), (?5, ?6)",
      "INSERT OR FAIL INTO %s VALUES(?1, ?2), (?3, ?4), (?5, ?6)", "INSERT OR ROLLBACK INTO %s VALUES(?1, ?2)",
      "REPLACE INTO %s SELECT ?1, ?2 UNION ALL SELECT ?3, ?4", "INSERT OR ABORT INTO %s VALUES(?1, ?2), (?3, ?4), (NULL, 1)"};
  static const char *const updates[] = {
      "UPDATE %s SET value = ?2 WHERE key = ?1", "UPDATE %s SET value = ?2 WHERE key BETWEEN ?1 AND ?3",
      "UPDATE %s SET key = ?3 WHERE key = ?1", "UPDATE OR REPLACE %s SET key = ?3 WHERE key = ?1",
      "UPDATE OR IGNORE %s SET key = ?3, value = ?2 WHERE key = ?1", "UPDATE %s SET key = key + 100 WHERE key BETWEEN 3 AND 20",
      "UPDATE OR IGNORE %s SET key = key + 1 WHERE key BETWEEN 0 AND 30", "UPDATE OR FAIL %s SET key = key - 1 WHERE key > ?1 AND key < 40",
      "UPDATE OR REPLACE %s SET key = key - 1, value = key WHERE key BETWEEN 5 AND 12", "UPDATE %s SET value = value WHERE key > ?1",
      "UPDATE %s SET key = key * 1.0 WHERE typeof(key) = 'integer' AND key BETWEEN 0 AND 9", "UPDATE %s SET key = NULL WHERE key = ?1"};
  static const char *const deletes[] = {
      "DELETE FROM %s WHERE key = ?1", "DELETE FROM %s WHERE key IN (?1, ?3, ?5)", "DELETE FROM %s WHERE key > ?1 AND key <= ?3",
      "DELETE FROM %s WHERE key GLOB 'user:1*'", "DELETE FROM %s WHERE value = ?2", "DELETE FROM %s WHERE key > 90"};
  value values[PARAMETERS_MAX];
  for (int i = 0; i < PARAMETERS_MAX; i++) values[i] = i % 2 == 0 ? random_key(m) : random_value(m);
  unsigned r = below(m, 10);
  if (r == 0 && below(m, 60) == 0) on_both(m, "DELETE FROM %s", values);
  else if (r < 6) on_both(m, inserts[below(m, sizeof inserts / sizeof *inserts)], values);
  else if (r < 8) on_both(m, updates[below(m, sizeof updates / sizeof *updates)], values);
  else on_both(m, deletes[below(m, sizeof deletes / sizeof *deletes)], values);
}

/* Each is ordered by the key in the end, so that both have to give one order. */
static void read_something(model *m) {
  static const char *const queries[] = {
      "SELECT * FROM %s WHERE key = ?1", "SELECT value FROM %s WHERE key = ?1", "SELECT * FROM %s ORDER BY key",
      "SELECT * FROM %s ORDER BY key DESC LIMIT 5", "SELECT * FROM %s WHERE key > ?1 ORDER BY key LIMIT 3",
      "SELECT * FROM %s WHERE key >= ?1 AND key < ?3 ORDER BY key", "SELECT * FROM %s WHERE key <= ?1 ORDER BY key DESC LIMIT 4 OFFSET 2",
      "SELECT * FROM %s WHERE key BETWEEN ?1 AND ?3 ORDER BY key DESC", "SELECT * FROM %s WHERE key IN (?1, ?3, ?5, ?7) ORDER BY key",
      "SELECT * FROM %s WHERE key IN (?1, ?3, ?5, NULL) ORDER BY key DESC LIMIT 2", "SELECT key FROM %s WHERE key GLOB 'user:1*' ORDER BY key",
      "SELECT * FROM %s WHERE key LIKE 'USER:_' ORDER BY key DESC", "SELECT * FROM %s WHERE key LIKE 'user:_' ORDER BY key", "SELECT key FROM %s WHERE key GLOB '1*' ORDER BY key",
      "SELECT key FROM %s WHERE key LIKE ?1 || '%%' ORDER BY key", "SELECT key FROM %s WHERE key GLOB '*1' AND key > ?1 ORDER BY key",
      "SELECT count(*), count(value), min(key), max(key) FROM %s", "SELECT typeof(key), count(*) FROM %s GROUP BY typeof(key) ORDER BY 1",
      "SELECT DISTINCT key FROM %s WHERE key < ?1 ORDER BY key", "SELECT key, count(*) FROM %s GROUP BY key ORDER BY key",
      "SELECT a.key, b.value FROM %s a JOIN %s b ON a.key = b.value ORDER BY a.key, b.key", "SELECT * FROM %s WHERE key IS ?1",
      "SELECT * FROM %s WHERE key > ?1 COLLATE NOCASE ORDER BY key", "SELECT * FROM %s WHERE key IS NULL OR key = ?1",
      "SELECT * FROM %s WHERE key > ?1 AND key > ?3 AND key <> ?5 ORDER BY key LIMIT 6 OFFSET 1", "SELECT key FROM %s WHERE key LIKE NULL",
      "SELECT max(key) FROM %s WHERE key < ?1", "SELECT * FROM %s ORDER BY key COLLATE NOCASE, key LIMIT 7",
      "SELECT key FROM %s WHERE key = (SELECT max(value) FROM %s) ORDER BY key", "SELECT key FROM %s WHERE key > NULL",
      "SELECT * FROM %s WHERE key = ?1 OR key = ?3 ORDER BY key LIMIT 1", "SELECT * FROM %s WHERE (key, value) = (?1, ?2)"};
  value values[PARAMETERS_MAX];
  for (int i = 0; i < PARAMETERS_MAX; i++) values[i] = i % 2 == 0 ? random_key(m) : random_value(m);
  on_both(m, queries[below(m, sizeof queries / sizeof *queries)], values);
}

/* ------------------------------------------------------------ transactions -- */

static void finish(model *m, const char *sql) {
  must(m, sql);
  notice_end(m);
}

static void named(model *m, const char *format, int number) {
  char sql[64];
  (void)snprintf(sql, sizeof sql, format, number);
  finish(m, sql);
}

static void change_transaction(model *m) {
  bool inside = !sqlite3_get_autocommit(m->db);
  unsigned r = below(m, 10);
  if (!inside && r < 4) must(m, "BEGIN");
  else if (inside && m->savepoints == 0 && r < 3) finish(m, r == 0 ? "ROLLBACK" : "COMMIT");
  else if (inside && r == 3) finish(m, below(m, 3) == 0 ? "ROLLBACK" : "COMMIT");
  else if (r < 6 && m->savepoints < SAVEPOINTS_MAX) named(m, "SAVEPOINT s%d", m->savepoints++);
  else if (m->savepoints > 0) {
    /* Any of them, and what is inside it goes too. */
    int number = (int)below(m, (unsigned)m->savepoints);
    bool release = below(m, 2) == 0;
    int left = release ? number : number + 1;
    named(m, release ? "RELEASE s%d" : "ROLLBACK TO s%d", number);
    if (m->savepoints > left) m->savepoints = left;
  }
}

/* ------------------------------------------------------------- open scans -- */

static void close_scan(struct scan *s) {
  (void)sqlite3_finalize(s->kv);
  (void)sqlite3_finalize(s->copy);
  *s = (struct scan){0};
}

/* What a scan is to show, in a table of its own that nobody changes. */
static void open_scan(model *m, struct scan *s) {
  char sql[200];
  const char *order = below(m, 2) ? "key" : "key DESC";
  if (!sqlite3_get_autocommit(m->db)) return; /* the copy must outlive any rollback */
  (void)snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS copies.c%lu; CREATE TABLE copies.c%lu AS SELECT * FROM main.t ORDER BY %s",
                 m->copies % SCANS, m->copies % SCANS, order);
  must(m, sql);
  (void)snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY %s", name_in_schema(m), order);
  s->kv = prepare(m, sql, "");
  (void)snprintf(sql, sizeof sql, "SELECT * FROM copies.c%lu ORDER BY rowid", m->copies % SCANS);
  s->copy = prepare(m, sql, "");
}

static void step_scan(model *m, struct scan *s) {
  int a = sqlite3_step(s->kv), b = sqlite3_step(s->copy);
  if (a != b) differ(m, "an open scan", "kv: %d, what it began with: %d, %s", a, b, sqlite3_errmsg(m->db));
  if (a == SQLITE_ROW)
    same_row(m, "an open scan", s->kv, s->copy);
  else
    close_scan(s);
}

static void close_scans(model *m) {
  for (unsigned i = 0; i < SCANS; i++) close_scan(&m->scans[i]);
}

/* Scans with a table of its own each, so they take turns with everything else. */
static void use_scans(model *m) {
  unsigned i = below(m, SCANS);
  struct scan *s = &m->scans[i];
  if (s->kv == NULL) {
    bool alone = true;
    for (unsigned k = 0; k < SCANS; k++) alone &= m->scans[k].kv == NULL;
    m->copies = i;
    if (alone) open_scan(m, s); /* DDL waits for all statements */
  }
  for (unsigned n = 1 + below(m, 8); s->kv != NULL && n > 0; n--) step_scan(m, s);
}

/* ------------------------------------------------------------------ opening -- */

static void open_database(model *m, bool fresh) {
  char sql[800], path[400];
  (void)snprintf(path, sizeof path, "%s/model.db", m->options->folder);
  if (sqlite3_open(path, &m->db) != SQLITE_OK || spm_table_register(m->db) != SQLITE_OK)
    differ(m, "opening", "%s", sqlite3_errmsg(m->db));
  must(m, "ATTACH ':memory:' AS copies");
  if (fresh) {
    (void)snprintf(sql, sizeof sql, "PRAGMA encoding='%s'; PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=OFF;"
                   "CREATE TABLE main.t(key PRIMARY KEY NOT NULL, value) WITHOUT ROWID", m->options->encoding);
    /* The attached database must have the same encoding, so it comes afterwards. */
    must(m, "DETACH copies");
    must(m, sql);
    must(m, "ATTACH ':memory:' AS copies");
  }
  must(m, "PRAGMA synchronous=OFF");
  if (!fresh && strcmp(m->options->schema, "main") == 0) return;
  (void)snprintf(sql, sizeof sql, "CREATE VIRTUAL TABLE %s USING pmemkv(path='%s/model.kv')", name_in_schema(m), m->options->folder);
  must(m, sql);
}

static void compare_everything(model *m) {
  on_both(m, "SELECT * FROM %s ORDER BY key", NULL);
}

static void reopen(model *m) {
  close_scans(m);
  if (sqlite3_close(m->db) != SQLITE_OK) differ(m, "closing", "%s", sqlite3_errmsg(m->db));
  m->savepoints = 0;
  open_database(m, false);
  compare_everything(m);
}

/* ------------------------------------------------------------------- points -- */

static void add_bytes(uint64_t *digest, const void *bytes, int n) {
  for (int i = 0; i < n; i++) *digest = (*digest ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
}

static void add_column(uint64_t *digest, sqlite3_stmt *s, int i) {
  int type = sqlite3_column_type(s, i);
  double real = type == SQLITE_FLOAT ? sqlite3_column_double(s, i) : 0;
  add_bytes(digest, &type, sizeof type);
  add_bytes(digest, &real, sizeof real);
  const void *bytes = type == SQLITE_BLOB ? sqlite3_column_blob(s, i) : sqlite3_column_text(s, i);
  add_bytes(digest, bytes, sqlite3_column_bytes(s, i));
}

/* The same in every encoding, whatever the order. */
static uint64_t digest_of(sqlite3 *db, const char *sql) {
  sqlite3_stmt *s;
  uint64_t sum = 1;
  if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) return 0;
  while (sqlite3_step(s) == SQLITE_ROW) {
    uint64_t row = UINT64_C(0xcbf29ce484222325);
    add_column(&row, s, 0);
    add_column(&row, s, 1);
    sum += row;
  }
  return sqlite3_finalize(s) == SQLITE_OK ? sum | 1 : 0;
}

uint64_t sqlmodel_digest(const char *folder) {
  sqlite3 *db;
  char sql[500];
  (void)snprintf(sql, sizeof sql, "CREATE VIRTUAL TABLE kv USING pmemkv(path='%s/model.kv')", folder);
  bool open = sqlite3_open(":memory:", &db) == SQLITE_OK && spm_table_register(db) == SQLITE_OK &&
              sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
  uint64_t digest = open ? digest_of(db, "SELECT key, value FROM kv") : 0;
  if (digest == 0) (void)fprintf(stderr, "sqlmodel: %s: %s\n", folder, sqlite3_errmsg(db));
  (void)sqlite3_close(db);
  return digest;
}

/* True: that was the last one wanted. */
static bool reach_point(model *m) {
  sqlmodel_options *o = m->options;
  if (!sqlite3_get_autocommit(m->db)) return false;
  m->points++;
  if (o->points != NULL) *o->points = m->points;
  if (o->wanted == 0 || m->points + 1 < o->wanted) return false;
  o->digests[0] = o->digests[1];
  o->digests[1] = digest_of(m->db, strcmp(o->schema, "temp") == 0 ? "SELECT key, value FROM temp.kv" : "SELECT key, value FROM main.kv");
  return m->points == o->wanted;
}

unsigned long sqlmodel_run(sqlmodel_options *options) {
  model m = {.options = options, .random = options->seed * 2 + 1};
  open_database(&m, true);
  for (m.step = 0; m.step < options->steps; m.step++) {
    unsigned r = below(&m, 1000);
    if (r < 2) reopen(&m);
    else if (r < 100) change_transaction(&m);
    else if (r < 200) use_scans(&m);
    else if (r < 210) compare_everything(&m);
    else if (r < 700) write_something(&m);
    else read_something(&m);
    if (r >= 2 && reach_point(&m)) break;
  }
  if (options->wanted == 0) reopen(&m);
  close_scans(&m);
  (void)sqlite3_close(m.db);
  return m.errors;
}
