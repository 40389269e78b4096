/*
** fuzz_data.c - the database file itself, and what lies beside it, as a user would open it.
**
** An input picks a database (in rollback mode with pages of three sizes, in WAL mode with a
** WAL, with a hot journal, stamped with its log as after a crash, half unstamped, empty, a
** byte, zeros, a text), damages the file and what is beside it, and opens the result on the
** VFS: integrity check, every row, writes, every row, a clean close.
**
** ORACLE.  What the file means is told without the VFS: a stamped one is recovered by
** model.c and its stamp is taken off here, and stock SQLite opens that, or a copy of what is
** no business of ours, with the same journal and WAL beside it.
**   - The model refuses a stamped file, then so does the VFS.
**   - A stamped file that is refused, its log and all else are byte for byte as they were; so
**     is any other file, unless SQLite's own recovery was under way or a clean close finished.
**   - If stock SQLite finds its own copy intact, reads every row and can leave WAL mode, then
**     the VFS shows the same rows, if it opens the file; and it must, unless something beside
**     the file is damaged.  The same statements then leave the same rows on both, here and
**     when stock SQLite opens the closed file, which has nothing beside it.
** Of a file that stock SQLite finds damaged, nothing is asked but that everything ends.
*/
#include "crashed.h"
#include "model.h"

#include "../../vfs/vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define FLAGS (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI)
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define GROWTH_MAX 20000u /* bytes that damage adds to a file */

enum { X, JOURNAL, WAL, LOG, FILES };
static const char *const suffixes[FILES] = {"", "-journal", "-wal", "-pmlog"};

typedef struct file {
  uint8_t *bytes; /* NULL: it is not there */
  size_t size, room;
} file;
typedef struct files {
  file at[FILES];
} files;

static file copy_of(const uint8_t *bytes, size_t n) {
  file copy = {malloc(n + GROWTH_MAX), n, n + GROWTH_MAX};
  if (copy.bytes == NULL) fuzz_wrong("no memory");
  if (n > 0) memcpy(copy.bytes, bytes, n);
  memset(copy.bytes + n, 0, GROWTH_MAX);
  return copy;
}

static void drop(file *f) {
  free(f->bytes);
  *f = (file){NULL, 0, 0};
}

static void drop_all(files *all) {
  for (int i = 0; i < FILES; i++) drop(&all->at[i]);
}

/* `base` is "" or what the stock copy's name has behind the database's. */
static const char *name_of(const char *base, int i) {
  char suffix[40];
  (void)snprintf(suffix, sizeof suffix, "%s%s", base, suffixes[i]);
  return fuzz_path(suffix);
}

static void put_files(const files *all, const char *base) {
  char shared[40];
  (void)snprintf(shared, sizeof shared, "%s-pmshm", base);
  (void)unlink(fuzz_path(shared));
  (void)snprintf(shared, sizeof shared, "%s-shm", base);
  (void)unlink(fuzz_path(shared));
  for (int i = 0; i < FILES; i++)
    if (all->at[i].bytes != NULL)
      fuzz_write_file(name_of(base, i), all->at[i].bytes, all->at[i].size);
    else
      (void)unlink(name_of(base, i));
}

static void take_file(files *all, int i) {
  size_t n;
  uint8_t *bytes = fuzz_read_file(name_of("", i), &n);
  drop(&all->at[i]);
  all->at[i] = copy_of(bytes, n);
  free(bytes);
}

/* Is it in the file system as it is here? */
static bool unchanged(const files *all, int i) {
  const file *f = &all->at[i];
  const char *name = name_of("", i);
  if (f->bytes == NULL || access(name, F_OK) != 0) return f->bytes == NULL && access(name, F_OK) != 0;
  size_t n;
  uint8_t *now = fuzz_read_file(name, &n);
  bool same = n == f->size && memcmp(now, f->bytes, n) == 0;
  free(now);
  return same;
}

/* --------------------------------------------------------------------- SQL -- */

static int stop_at(void *left) { return --*(int *)left < 0; }

/* On a damaged tree a statement may go on for years: it has so many steps. */
static sqlite3 *open_db(const char *path, const char *vfs, const char *parameters) {
  static int left;
  char uri[400];
  sqlite3 *db = NULL;
  (void)snprintf(uri, sizeof uri, "file:%s?vfs=%s%s", path, vfs, parameters);
  if (sqlite3_open_v2(uri, &db, FLAGS, NULL) == SQLITE_NOMEM) fuzz_wrong("no memory");
  left = 20000;
  sqlite3_progress_handler(db, 100, stop_at, &left);
  return db;
}

static int run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL); }

static void append_value(sqlite3_str *to, sqlite3_stmt *row, int column) {
  int type = sqlite3_column_type(row, column);
  double real = sqlite3_column_double(row, column);
  sqlite3_int64 integer = sqlite3_column_int64(row, column);
  sqlite3_str_appendf(to, "|%d:", type);
  if (type == SQLITE_INTEGER) sqlite3_str_append(to, (const char *)&integer, sizeof integer);
  if (type == SQLITE_FLOAT) sqlite3_str_append(to, (const char *)&real, sizeof real);
  if (type != SQLITE_TEXT && type != SQLITE_BLOB) return;
  const char *bytes = sqlite3_column_blob(row, column);
  int n = sqlite3_column_bytes(row, column);
  sqlite3_str_appendf(to, "%d:", n);
  if (n > 0) sqlite3_str_append(to, bytes, n);
}

/* Every row behind what is there. */
static int append_rows(sqlite3_str *to, sqlite3 *db, const char *sql) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
  if (rc != SQLITE_OK || statement == NULL) return rc;
  while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
    for (int i = 0; i < sqlite3_column_count(statement); i++) append_value(to, statement, i);
    sqlite3_str_appendchar(to, 1, '\n');
  }
  return sqlite3_finalize(statement);
}

typedef struct text {
  char *bytes; /* sqlite3_malloc */
  int size;
} text;

static bool same(const text *a, const text *b) {
  return a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, (size_t)a->size) == 0);
}

static text finish(sqlite3_str *made) {
  int size = sqlite3_str_length(made);
  return (text){sqlite3_str_finish(made), size};
}

/* The schema, and every row of every table. */
static int read_all(sqlite3 *db, text *all) {
  static const char schema[] = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2, 3, 4";
  static const char names[] = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1";
  sqlite3_stmt *tables = NULL;
  sqlite3_str *rows = sqlite3_str_new(NULL);
  int rc = append_rows(rows, db, schema);
  if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(db, names, -1, &tables, NULL);
  while (rc == SQLITE_OK && sqlite3_step(tables) == SQLITE_ROW) {
    char *sql = sqlite3_mprintf("SELECT * FROM \"%w\"", (const char *)sqlite3_column_text(tables, 0));
    rc = append_rows(rows, db, sql);
    sqlite3_free(sql);
  }
  int ended = sqlite3_finalize(tables);
  *all = finish(rows);
  return rc == SQLITE_OK ? ended : rc;
}

/* What a pragma answers in its first row, and how many there are. */
typedef struct answer {
  char text[80];
  int rc, rows;
} answer;

static int keep_answer(void *to, int columns, char **values, char **names) {
  answer *a = to;
  (void)names;
  if (a->rows++ == 0 && columns > 0 && values[0] != NULL) (void)snprintf(a->text, sizeof a->text, "%s", values[0]);
  return 0;
}

static answer ask(sqlite3 *db, const char *sql) {
  answer a = {"", SQLITE_OK, 0};
  a.rc = sqlite3_exec(db, sql, keep_answer, &a, NULL);
  return a;
}

/* Does SQLite find nothing?  *rc: could it look? */
static bool intact(sqlite3 *db, int *rc) {
  answer a = ask(db, "PRAGMA integrity_check(5)");
  *rc = a.rc;
  return a.rc == SQLITE_OK && a.rows == 1 && strcmp(a.text, "ok") == 0;
}

/* The same work on both sides; the first error of any. */
static int write_some(sqlite3 *db) {
  static const char *const statements[] = {
      "CREATE TABLE IF NOT EXISTS made(a INTEGER PRIMARY KEY, b)",
      "INSERT INTO made(b) VALUES(zeroblob(9000)), ('made')",
      "BEGIN; CREATE TABLE lost(a); INSERT INTO lost VALUES(zeroblob(20000)); ROLLBACK",
      "UPDATE t SET b = b || 'x', c = a WHERE a % 5 = 0",
      "DELETE FROM t WHERE a % 7 = 0",
      "INSERT OR REPLACE INTO w SELECT 'k' || a, b FROM t WHERE a % 11 = 0",
  };
  int rc = SQLITE_OK, first = SQLITE_OK;
  for (size_t i = 0; i < COUNT(statements); i++) {
    rc = run(db, statements[i]);
    bool absent = rc == SQLITE_ERROR && i > 2; /* there need not be a table t */
    if (!absent && rc != SQLITE_OK && first == SQLITE_OK) first = rc;
    if (sqlite3_get_autocommit(db) == 0) (void)run(db, "ROLLBACK");
  }
  return first;
}

/* ------------------------------------------------------------ the databases -- */

enum {
  PLAIN, SMALL_PAGES, LARGE_PAGES, IN_WAL, HOT, STAMPED, TO_REDO, PLACEHOLDER, HALF, EMPTY, A_BYTE, ZEROS, A_TEXT,
  IMAGES
};
static files images[IMAGES];

static void must(sqlite3 *db, const char *sql) {
  if (run(db, sql) != SQLITE_OK) fuzz_wrong("making a database: %s: %s", sql, sqlite3_errmsg(db));
}

static sqlite3 *begin_image(const char *vfs, const char *pragmas) {
  static const char schema[] =
      "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c); CREATE INDEX t_b ON t(b);"
      "CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
      "WITH n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
      " INSERT INTO t SELECT i, 'row ' || i * 7919 % 997, i * 1.5 FROM n;"
      "INSERT INTO w SELECT 'k' || a, zeroblob(a % 50) FROM t WHERE a % 3 = 0;"
      "INSERT INTO t VALUES(1000, zeroblob(9000), NULL);"
      "CREATE TABLE gone AS SELECT * FROM t; DROP TABLE gone";
  files none = {0};
  put_files(&none, "");
  sqlite3 *db = open_db(fuzz_path(""), "unix", "");
  must(db, pragmas);
  must(db, schema);
  if (strcmp(vfs, "unix") == 0) return db;
  (void)sqlite3_close(db);
  return open_db(fuzz_path(""), vfs, "");
}

static void make_stock(int which, const char *pragmas, const char *then, int beside) {
  sqlite3 *db = begin_image("unix", pragmas);
  must(db, then);
  take_file(&images[which], X);
  if (beside != X) take_file(&images[which], beside);
  (void)sqlite3_close(db);
}

/* As a crash left it; and as it was when its log began, so that all of it is to be redone. */
static void make_stamped(void) {
  sqlite3 *db = begin_image("pmem", "PRAGMA page_size=4096");
  must(db, "SELECT count(*) FROM t");
  take_file(&images[TO_REDO], X);
  must(db, "UPDATE t SET c = 'new' WHERE a % 4 = 0; CREATE TABLE later(a, b); INSERT INTO later VALUES(1, zeroblob(5000));"
           "DELETE FROM w WHERE k > 'k5'");
  take_file(&images[TO_REDO], LOG);
  for (int i = X; i <= LOG; i += LOG) take_file(&images[STAMPED], i);
  file *old = &images[TO_REDO].at[X];
  file padded = copy_of(images[STAMPED].at[X].bytes, images[STAMPED].at[X].size);
  if (old->size > padded.size) fuzz_wrong("the stamped database shrank");
  memset(padded.bytes, 0, padded.size);
  memcpy(padded.bytes, old->bytes, old->size);
  drop(old);
  *old = padded;
  (void)sqlite3_close(db);
}

static void make_placeholder(void) {
  files none = {0};
  put_files(&none, "");
  sqlite3 *db = open_db(fuzz_path(""), "pmem", "");
  must(db, "SELECT count(*) FROM sqlite_schema");
  for (int i = X; i <= LOG; i += LOG) take_file(&images[PLACEHOLDER], i);
  (void)sqlite3_close(db);
}

static void make_images(void) {
  static uint8_t zeros[SPM_BLOCK_SIZE];
  static const char words[] = "This is a text, and no database of anybody's; it is long enough to be taken for a header"
                              " by those who do not look. SQLite format 3";
  if (spm_vfs_register(false) != SQLITE_OK) fuzz_wrong("registering");
  make_stock(PLAIN, "PRAGMA page_size=4096", "SELECT 1", X);
  make_stock(SMALL_PAGES, "PRAGMA page_size=512; PRAGMA encoding='UTF-16'; PRAGMA auto_vacuum=1", "SELECT 1", X);
  make_stock(LARGE_PAGES, "PRAGMA page_size=65536", "SELECT 1", X);
  make_stock(IN_WAL, "PRAGMA page_size=4096; PRAGMA journal_mode=WAL",
             "PRAGMA wal_checkpoint; UPDATE t SET c = 'in the WAL' WHERE a % 2 = 0; INSERT INTO w VALUES('new', 1)", WAL);
  make_stock(HOT, "PRAGMA page_size=1024; PRAGMA cache_size=2", "BEGIN; UPDATE t SET b = 'half of it', c = b", JOURNAL);
  make_stamped();
  make_placeholder();
  images[HALF].at[X] = copy_of(images[PLAIN].at[X].bytes, images[PLAIN].at[X].size);
  images[HALF].at[X].bytes[19] = 0x70;
  images[EMPTY].at[X] = copy_of(zeros, 0);
  images[A_BYTE].at[X] = copy_of((const uint8_t *)"S", 1);
  images[ZEROS].at[X] = copy_of(zeros, sizeof zeros);
  images[A_TEXT].at[X] = copy_of((const uint8_t *)words, sizeof words);
  if (images[HOT].at[JOURNAL].size < 2000 || images[HOT].at[JOURNAL].bytes[0] == 0) fuzz_wrong("no hot journal");
}

/* ------------------------------------------------------------------- damage -- */

static void put_big(uint8_t *to, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < size; i++) to[i] = (uint8_t)(value >> 8 * (size - 1 - i));
}

static uint64_t get_big(const uint8_t *from, unsigned size) {
  uint64_t value = 0;
  for (unsigned i = 0; i < size; i++) value = value << 8 | from[i];
  return value;
}

/* A number as SQLite writes it: a little more or less, or something that hurts. */
static void change(file *f, size_t at, unsigned size, program *p) {
  if (at + size > f->size) return;
  uint8_t how = program_byte(p);
  uint64_t value = how & 1 ? get_big(f->bytes + at, size) + (uint64_t)(int64_t)(int8_t)program_byte(p) : program_hurting(p);
  put_big(f->bytes + at, size, value);
}

static void change_header(file *f, program *p) {
  static const struct {
    uint8_t at, size;
  } fields[] = {{0, 1},  {16, 2}, {18, 1}, {19, 1}, {18, 2}, {20, 1}, {21, 1}, {24, 4}, {28, 4}, {32, 4}, {36, 4}, {40, 4},
                {44, 4}, {48, 4}, {52, 4}, {56, 4}, {60, 4}, {64, 4}, {68, 4}, {72, 4}, {76, 8}, {84, 8}, {92, 4}, {96, 4}};
  uint8_t which = program_byte(p) % COUNT(fields);
  change(f, fields[which].at, fields[which].size, p);
}

/* The head of a page of a tree, or a pointer to a cell; where journals have theirs as well. */
static void change_page(file *f, program *p) {
  static const uint8_t at[] = {0, 1, 3, 5, 7, 8, 10, 12}, size[] = {1, 2, 2, 2, 1, 4, 2, 2};
  size_t page = (size_t)program_byte(p) * (program_byte(p) & 1 ? 512 : 4096);
  uint8_t which = program_byte(p) % COUNT(at);
  change(f, (page == 0 ? 100 : page) + at[which], size[which], p);
}

static void copy_page(file *f, program *p) {
  size_t page = program_byte(p) & 1 ? 512 : 4096, from = program_byte(p) * page, to = program_byte(p) * page;
  if (from + page <= f->size && to + page <= f->size) memmove(f->bytes + to, f->bytes + from, page);
}

static void cut_or_grow(file *f, program *p) {
  uint8_t how = program_byte(p);
  size_t by = program_number(p, 2) * (how & 1 ? 1 : 512);
  if (how & 2)
    f->size -= by < f->size ? by : f->size;
  else if (how & 4)
    f->size = by < f->size ? by : f->size;
  else
    f->size = by <= f->room - f->size ? f->size + by : f->size;
}

static void damage_file(file *f, program *p) {
  size_t at;
  switch (program_byte(p) % 8) {
    case 0: case 1: change_header(f, p); break;
    case 2: change_page(f, p); break;
    case 3: copy_page(f, p); break;
    case 4: cut_or_grow(f, p); break;
    case 5: /* among the first bytes, where what matters is */
      change(f, program_byte(p) % 128, 1u << program_byte(p) % 4, p);
      break;
    case 6:
      at = program_number(p, 3);
      if (f->size > 0) f->bytes[at % f->size] ^= (uint8_t)(1u << program_byte(p) % 8);
      break;
    default:
      at = program_number(p, 2);
      for (uint8_t n = program_byte(p); n > 0 && at < f->size; n--, at++) f->bytes[at] = program_byte(p);
      break;
  }
}

/* A file goes, or another database's comes in its place, or one without a byte. */
static void exchange(file *f, int which, program *p) {
  uint8_t from = program_byte(p) % (IMAGES + 2);
  file other = from < IMAGES ? images[from].at[which] : (file){NULL, 0, 0};
  if (which == X && other.bytes == NULL) return;
  drop(f);
  if (other.bytes != NULL) *f = copy_of(other.bytes, other.size);
  if (from == IMAGES) *f = copy_of((const uint8_t *)"", 0);
}

/* Is what lies beside the file as it was? */
static bool damage_files(files *all, program *p) {
  bool whole = true;
  for (uint8_t left = program_byte(p) % 8; left > 0 && p->left > 0; left--) {
    uint8_t what = program_byte(p) % 16;
    int which = what < 12 ? X : what - 12;
    uint8_t how = which == X ? 1 : program_byte(p) % 4;
    whole &= which == X;
    if (what == 12 || how == 0)
      exchange(&all->at[which], which, p);
    else if (all->at[which].bytes != NULL)
      damage_file(&all->at[which], p);
  }
  return whole;
}

/* ---------------------------------------------------------------- reference -- */

typedef enum kind { OF_NOTHING, OF_OURS, OF_HALF, OF_OTHERS } kind;

/* By vfs/stamp.h. */
static kind kind_of(const file *x) {
  static const uint8_t zeros[SPM_BLOCK_SIZE];
  if (x->size == 0 || (x->size == sizeof zeros && memcmp(x->bytes, zeros, sizeof zeros) == 0)) return OF_NOTHING;
  if (x->size < 100 || memcmp(x->bytes, "SQLite format 3", 16) != 0) return OF_OTHERS;
  if (x->bytes[18] != 1 || x->bytes[19] != 0x70) return OF_OTHERS;
  if (memcmp(x->bytes + 72, "PMEM", 4) == 0) return OF_OURS;
  return memcmp(x->bytes + 72, zeros, 8) == 0 ? OF_HALF : OF_OTHERS;
}

static bool leftover(const files *all) { return all->at[JOURNAL].size > 0 || all->at[WAL].size > 0; }

/* As the engine shows a stamped header. */
static void take_stamp_off(uint8_t *header) {
  header[18] = header[19] = 1;
  memset(header + 72, 0, 20);
}

/* What a stamped file and its log mean.  NULL, or why they are refused. */
static const char *recovered(const files *all, file *x) {
  const file *log = &all->at[LOG];
  if (log->bytes == NULL) return "its log is missing";
  model m;
  const model_input in = {all->at[X].bytes, log->bytes, all->at[X].size, log->size, all->at[X].bytes + 76, false};
  model_recover(&in, &m);
  if (m.refused == NULL && m.size <= MODEL_MAX) *x = copy_of(m.bytes, m.size);
  if (x->bytes != NULL && x->size >= 100) take_stamp_off(x->bytes);
  model_free(&m);
  return m.refused;
}

/* A clean close that is finished moves the counter on, and its twin with it. */
static file finished(const file *half) {
  file x = copy_of(half->bytes, half->size);
  take_stamp_off(x.bytes);
  uint64_t counter = get_big(x.bytes + 24, 4) + 1;
  put_big(x.bytes + 24, 4, counter);
  put_big(x.bytes + 92, 4, counter);
  return x;
}

/* The files that mean to stock SQLite what `all` is to mean here; no X: nobody can tell. */
static const char *reference(const files *all, kind k, files *to) {
  const char *refused = NULL;
  const file *x = &all->at[X];
  *to = (files){0};
  if (k == OF_OURS) refused = recovered(all, &to->at[X]);
  else if (k == OF_HALF) to->at[X] = finished(x);
  else to->at[X] = copy_of(x->bytes, k == OF_NOTHING && !leftover(all) ? 0 : x->size);
  for (int i = JOURNAL; i <= WAL && k != OF_OURS; i++)
    if (all->at[i].bytes != NULL) to->at[i] = copy_of(all->at[i].bytes, all->at[i].size);
  return refused;
}

typedef struct story {
  bool right; /* intact, read, and brought to rollback mode                   */
  bool wrote; /* the statements went through                                  */
  text before, after;
} story;

static void story_free(story *s) {
  sqlite3_free(s->before.bytes);
  sqlite3_free(s->after.bytes);
}

/* As adoption does it: the last two remove a journal that was kept. */
static bool leave_wal(sqlite3 *db) {
  if (strcmp(ask(db, "PRAGMA journal_mode=DELETE").text, "delete") != 0) return false;
  return run(db, "PRAGMA journal_mode=TRUNCATE") == SQLITE_OK && run(db, "PRAGMA journal_mode=DELETE") == SQLITE_OK;
}

/* What stock SQLite makes of files of its own. */
static story told_by_stock(const files *all) {
  story s = {0};
  int rc;
  if (all->at[X].bytes == NULL) return s;
  put_files(all, "-ref");
  sqlite3 *db = open_db(fuzz_path("-ref"), "unix", "");
  s.right = intact(db, &rc) && read_all(db, &s.before) == SQLITE_OK && leave_wal(db);
  (void)sqlite3_close(db);
  if (!s.right) return s;
  db = open_db(fuzz_path("-ref"), "unix", "");
  s.wrote = write_some(db) == SQLITE_OK && read_all(db, &s.after) == SQLITE_OK && intact(db, &rc);
  (void)sqlite3_close(db);
  return s;
}

/* ----------------------------------------------------------------- the test -- */

typedef struct test {
  files all;
  kind k;
  bool beside_whole; /* nothing beside the file was damaged                   */
  bool no_recovery;  /* by an option                                          */
  bool verified;     /* by another: recovered, and looked at before it is handed over */
  const char *refused;
  story stock;
} test;

static bool excused(int rc) {
  return rc == SQLITE_FULL || (rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_MMAP || rc == SQLITE_INTERRUPT;
}

static bool attached(sqlite3 *db) {
  answer medium = ask(db, "PRAGMA pmem_medium");
  return medium.rc == SQLITE_OK && medium.rows == 1 && strstr(medium.text, "not known") == NULL;
}

/* Neither reading nor writing did anything to what was refused. */
static void check_refused(const test *t, sqlite3 *db, int rc) {
  bool ours = t->k == OF_OURS;
  if (ours && !t->verified && run(db, "CREATE TABLE u(a)") == SQLITE_OK) fuzz_wrong("refused with %d, and written to", rc);
  (void)sqlite3_close(db);
  bool demanded = t->stock.right && t->beside_whole && !t->no_recovery;
  if (demanded && !excused(rc)) fuzz_wrong("refused with %d what stock SQLite reads", rc);
  if (excused(rc) || t->verified || (!ours && (leftover(&t->all) || t->k != OF_OTHERS))) return;
  for (int i = X; i < (ours ? FILES : JOURNAL); i++)
    if (!unchanged(&t->all, i)) fuzz_wrong("refused with %d, and x.db%s has changed", rc, suffixes[i]);
}

static void check_rows(const test *t, const char *when, int rc, const text *rows, const text *wanted) {
  if (excused(rc)) return;
  if (rc != SQLITE_OK && t->beside_whole) fuzz_wrong("%s: %d", when, rc);
  if (rc == SQLITE_OK && !same(rows, wanted)) fuzz_wrong("%s: other rows than stock SQLite's", when);
}

/* The file is an ordinary one again, with what was written last. */
static void check_closed(const test *t, bool was_attached, const text *rows) {
  story after = {0};
  for (int i = JOURNAL; i < FILES && was_attached; i++)
    if (access(name_of("", i), F_OK) == 0) fuzz_wrong("x.db%s is still there", suffixes[i]);
  sqlite3 *db = open_db(fuzz_path(""), "unix", "");
  int looked;
  bool fine = intact(db, &looked);
  int rc = read_all(db, &after.before);
  (void)sqlite3_close(db);
  if (t->stock.wrote && !fine && !excused(looked)) fuzz_wrong("closed, and not intact: %d", looked);
  check_rows(t, "closed", rc, &after.before, rows);
  story_free(&after);
}

/* It is open: everything is read, something is written. */
static void work(const test *t, sqlite3 *db, bool fine) {
  story here = {0};
  bool was_attached = attached(db), right = t->stock.right;
  int rc = read_all(db, &here.before);
  if (right) check_rows(t, "read", rc, &here.before, &t->stock.before);
  if (right && rc == SQLITE_OK && !fine) fuzz_wrong("not intact, and stock SQLite's copy is");
  int written = write_some(db), read_again = read_all(db, &here.after);
  if (t->stock.wrote && t->beside_whole && written != SQLITE_OK && !excused(written)) fuzz_wrong("writing: %d", written);
  bool compare = right && t->stock.wrote && written == SQLITE_OK;
  if (compare) check_rows(t, "written", read_again, &here.after, &t->stock.after);
  if (sqlite3_close(db) != SQLITE_OK) fuzz_wrong("the connection does not close");
  if (compare && read_again == SQLITE_OK) check_closed(t, was_attached, &here.after);
  story_free(&here);
}

static void open_and_compare(const test *t, const char *parameters) {
  int rc;
  put_files(&t->all, "");
  sqlite3 *db = open_db(fuzz_path(""), "pmem", parameters);
  bool fine = intact(db, &rc), is_attached = attached(db);
  if (t->refused != NULL && is_attached) fuzz_wrong("accepted, though %s", t->refused);
  if (rc != SQLITE_OK && !is_attached) {
    check_refused(t, db, rc);
  } else if (rc != SQLITE_OK) {
    (void)write_some(db);
    (void)sqlite3_close(db);
    if (t->stock.right && t->beside_whole && !excused(rc)) fuzz_wrong("%d, and stock SQLite reads it", rc);
  } else {
    work(t, db, fine);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static const char *const parameters[] = {
      "", "", "", "", "", "&pmem_recovery=full", "&pmem_recovery=none", "&pmem_wal=off"};
  program p = {bytes, n};
  test t = {.k = OF_OTHERS};
  files ref;
  if (images[A_TEXT].at[X].bytes == NULL) make_images();
  const files *image = &images[program_byte(&p) % IMAGES];
  uint8_t option = program_byte(&p) % COUNT(parameters);
  for (int i = 0; i < FILES; i++)
    if (image->at[i].bytes != NULL) t.all.at[i] = copy_of(image->at[i].bytes, image->at[i].size);
  t.beside_whole = damage_files(&t.all, &p);
  t.k = kind_of(&t.all.at[X]);
  t.no_recovery = strstr(parameters[option], "none") != NULL;
  t.verified = strstr(parameters[option], "full") != NULL;
  t.refused = reference(&t.all, t.k, &ref);
  t.stock = told_by_stock(&ref);
  drop_all(&ref);
  open_and_compare(&t, parameters[option]);
  story_free(&t.stock);
  drop_all(&t.all);
  return 0;
}
