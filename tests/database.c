/*
** database.c - see database.h.
*/
#include "database.h"

#include "../vfs/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATHS_MAX 128
#define TEXT_MAX (1 << 16)

/* ----------------------------------------------------------------- paths -- */

static char *keep_path(const char *path, const char *suffix) {
  static char paths[PATHS_MAX][640];
  static unsigned used;
  ck_assert_uint_lt(used, PATHS_MAX);
  (void)snprintf(paths[used], sizeof *paths, "%s%s", path, suffix);
  for (unsigned i = 0; i < used; i++) /* tests ask for the same names in loops */
    if (strcmp(paths[i], paths[used]) == 0) return paths[i];
  return paths[used++];
}

const char *path_on(int medium, const char *name) {
  return keep_path(medium == ON_PMEM ? pmem_path(name) : file_path(name), "");
}

const char *beside(const char *path, const char *suffix) { return keep_path(path, suffix); }

/* --------------------------------------------------------------- opening -- */

static int try_open(const char *path, const char *vfs, const char *parameters, sqlite3 **db) {
  char uri[1024];
  static bool registered;
  if (!registered) ck_assert_int_eq(spm_vfs_register(false), SQLITE_OK);
  registered = true;
  (void)snprintf(uri, sizeof uri, "file:%s?vfs=%s%s%s", path, vfs, parameters ? "&" : "", parameters ? parameters : "");
  int rc = sqlite3_open_v2(uri, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_extended_result_codes(*db, 1);
  return rc;
}

sqlite3 *open_with(const char *path, const char *vfs, const char *parameters) {
  sqlite3 *db;
  int rc = try_open(path, vfs, parameters, &db);
  ck_assert_msg(rc == SQLITE_OK, "opening %s: %s", path, sqlite3_errmsg(db));
  return db;
}

sqlite3 *open_pmem(const char *path) { return open_with(path, "pmem", NULL); }
sqlite3 *open_stock(const char *path) { return open_with(path, "unix", NULL); }

int open_code(const char *path, const char *vfs, const char *parameters) {
  sqlite3 *db;
  int rc = try_open(path, vfs, parameters, &db);
  if (rc == SQLITE_OK) rc = code_of(db, "SELECT count(*) FROM sqlite_schema");
  (void)sqlite3_close(db);
  return rc;
}

void close_db(sqlite3 *db) {
  int rc = sqlite3_close(db);
  ck_assert_msg(rc == SQLITE_OK, "close: %s", sqlite3_errmsg(db));
}

/* --------------------------------------------------------------- running -- */

static int run_list(sqlite3 *db, const char *format, va_list arguments) {
  char *sql = sqlite3_vmprintf(format, arguments);
  ck_assert_ptr_nonnull(sql);
  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  sqlite3_free(sql);
  return rc;
}

void run(sqlite3 *db, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int rc = run_list(db, format, arguments);
  va_end(arguments);
  ck_assert_msg(rc == SQLITE_OK, "%s: %d %s (%s)", format, rc, sqlite3_errmsg(db), spm_last_error());
}

int code_of(sqlite3 *db, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int rc = run_list(db, format, arguments);
  va_end(arguments);
  return rc;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
  sqlite3_stmt *statement;
  int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
  ck_assert_msg(rc == SQLITE_OK, "%s: %d %s (%s)", sql, rc, sqlite3_errmsg(db), spm_last_error());
  return statement;
}

static bool step(sqlite3_stmt *statement) {
  int rc = sqlite3_step(statement);
  ck_assert_msg(rc == SQLITE_ROW || rc == SQLITE_DONE, "%s: %d %s (%s)", sqlite3_sql(statement), rc,
                sqlite3_errmsg(sqlite3_db_handle(statement)), spm_last_error());
  return rc == SQLITE_ROW;
}

int64_t number(sqlite3 *db, const char *sql) {
  sqlite3_stmt *statement = prepare(db, sql);
  int64_t value = step(statement) ? sqlite3_column_int64(statement, 0) : -1;
  (void)sqlite3_finalize(statement);
  return value;
}

const char *text(sqlite3 *db, const char *sql) {
  static char buffers[2][TEXT_MAX];
  static unsigned turn;
  char *to = buffers[turn++ % 2];
  size_t used = 0;
  sqlite3_stmt *statement = prepare(db, sql);
  to[0] = 0;
  while (step(statement))
    for (int i = 0; i < sqlite3_column_count(statement) && used < TEXT_MAX; i++) {
      const char *value = (const char *)sqlite3_column_text(statement, i);
      used += (size_t)snprintf(to + used, TEXT_MAX - used, "%s%s", used == 0 ? "" : i == 0 ? " " : "|",
                               value ? value : "NULL");
    }
  (void)sqlite3_finalize(statement);
  return to;
}

/* ------------------------------------------------------------- comparing -- */

static bool same_value(sqlite3_stmt *a, sqlite3_stmt *b, int column) {
  int type = sqlite3_column_type(a, column);
  if (type != sqlite3_column_type(b, column)) return false;
  if (type == SQLITE_INTEGER) return sqlite3_column_int64(a, column) == sqlite3_column_int64(b, column);
  int n = sqlite3_column_bytes(a, column);
  if (n != sqlite3_column_bytes(b, column)) return false;
  return n == 0 || memcmp(sqlite3_column_blob(a, column), sqlite3_column_blob(b, column), (size_t)n) == 0;
}

void same_rows(sqlite3 *first, sqlite3 *second, const char *sql) {
  sqlite3_stmt *a = prepare(first, sql), *b = prepare(second, sql);
  ck_assert_int_eq(sqlite3_column_count(a), sqlite3_column_count(b));
  for (unsigned row = 0;; row++) {
    bool more = step(a);
    ck_assert_msg(more == step(b), "%s: one ends after %u rows", sql, row);
    if (!more) break;
    for (int i = 0; i < sqlite3_column_count(a); i++)
      ck_assert_msg(same_value(a, b, i), "%s: row %u, column %d: [%s] and [%s]", sql, row, i,
                    (const char *)sqlite3_column_text(a, i), (const char *)sqlite3_column_text(b, i));
  }
  (void)sqlite3_finalize(a);
  (void)sqlite3_finalize(b);
}

void same_content(sqlite3 *a, sqlite3 *b) {
  same_rows(a, b, "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name");
  sqlite3_stmt *tables = prepare(a, "SELECT 'SELECT * FROM \"' || name || '\" ORDER BY 1' FROM sqlite_schema WHERE type = 'table'");
  while (step(tables)) same_rows(a, b, (const char *)sqlite3_column_text(tables, 0));
  (void)sqlite3_finalize(tables);
}

void integrity(sqlite3 *db) { expect(db, "PRAGMA integrity_check", "ok"); }

/* ------------------------------------------------------------- raw files -- */

bool exists(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0;
}

int64_t file_size(const char *path) {
  struct stat status;
  ck_assert_msg(stat(path, &status) == 0, "%s: %s", path, strerror(errno));
  return status.st_size;
}

/* In a child: closing a descriptor drops the POSIX locks of the process on the file,
** and with them those of a stock connection that the test has open. */
static void in_child_process(void (*work)(void *), void *argument) {
  ck_assert_int_eq(child_status(in_child(work, argument)), 0);
}

typedef struct transfer {
  const char *path, *to_path;
  int64_t offset;
  void *bytes;
  size_t n;
} transfer;

static void write_now(void *argument) {
  const transfer *t = argument;
  int fd = open(t->path, O_WRONLY);
  if (fd < 0 || pwrite(fd, t->bytes, t->n, t->offset) != (ssize_t)t->n) _exit(1);
}

void raw_write(const char *path, int64_t offset, const void *from, size_t n) {
  transfer t = {.path = path, .offset = offset, .bytes = (void *)(uintptr_t)from, .n = n};
  in_child_process(write_now, &t);
}

static void copy_now(void *argument) {
  static char buffer[1 << 16];
  const transfer *t = argument;
  int from = open(t->path, O_RDONLY), to = open(t->to_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ssize_t n;
  if (from < 0 || to < 0) _exit(1);
  while ((n = read(from, buffer, sizeof buffer)) > 0)
    if (write(to, buffer, (size_t)n) != n) _exit(1);
}

void raw_copy(const char *from, const char *to) {
  transfer t = {.path = from, .to_path = to};
  in_child_process(copy_now, &t);
}

/* The answer comes back through a pipe. */
void raw_read(const char *path, int64_t offset, void *to, size_t n) {
  int ends[2];
  ck_assert_int_eq(pipe(ends), 0);
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    static char buffer[4096];
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 || n > sizeof buffer ? -1 : pread(fd, buffer, n, offset);
    _exit(got != (ssize_t)n || write(ends[1], buffer, n) != (ssize_t)n);
  }
  ck_assert_int_eq(child_status(child), 0);
  ck_assert_int_eq(read(ends[0], to, n), (ssize_t)n);
  close(ends[0]);
  close(ends[1]);
}

uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void only_plain_file(const char *path) {
  static const char *const suffixes[] = {"-pmlog", "-pmshm", "-journal", "-wal", "-shm"};
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
    ck_assert_msg(!exists(beside(path, suffixes[i])), "%s%s was left behind", path, suffixes[i]);
}

void stock_accepts(const char *path) {
  only_plain_file(path);
  sqlite3 *db = open_stock(path);
  integrity(db);
  close_db(db);
}

/* -------------------------------------------------------------- children -- */

/* _exit: the child must not run what the parent registered for its own end. */
pid_t in_child(void (*work)(void *), void *argument) {
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child != 0) return child;
  work(argument);
  _exit(0);
}

int child_status(pid_t child) {
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void kill_child(pid_t child) {
  ck_assert_int_eq(kill(child, SIGKILL), 0);
  ck_assert_int_eq(child_status(child), -SIGKILL);
}

typedef struct last_work {
  void (*work)(void *);
  void *argument;
} last_work;

static void work_and_die(void *argument) {
  const last_work *last = argument;
  last->work(last->argument);
  (void)raise(SIGKILL);
}

void crash_after(void (*work)(void *), void *argument) {
  last_work last = {work, argument};
  ck_assert_int_eq(child_status(in_child(work_and_die, &last)), -SIGKILL);
}
