/*
** database.h - what the tests that speak SQL have in common: opening, running,
** comparing, looking at raw files, and children that die.
**
** Everything here fails the test on an error that was not asked for.
*/
#ifndef SPM_TESTS_DATABASE_H
#define SPM_TESTS_DATABASE_H

#include "tests.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Loop tests run once on each medium: tcase_add_loop_test(..., 0, MEDIA). */
enum { ON_PMEM, ON_DISK, MEDIA };

/* A path in the test's own folder on that medium; valid for the test's whole life,
** in its children too. */
const char *path_on(int medium, const char *name);
/* The path with more behind it, as valid. */
const char *beside(const char *path, const char *suffix);

/* Open PATH on the VFS pmem or the stock one, with URI parameters ("mode=ro") or NULL;
** NULL: it must not open, and *code says why. */
sqlite3 *open_pmem(const char *path);
sqlite3 *open_stock(const char *path);
sqlite3 *open_with(const char *path, const char *vfs, const char *parameters);
int open_code(const char *path, const char *vfs, const char *parameters);
void close_db(sqlite3 *);

void run(sqlite3 *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The extended result code of the first statement that fails; SQLITE_OK if none. */
int code_of(sqlite3 *, const char *format, ...) __attribute__((format(printf, 2, 3)));
int64_t number(sqlite3 *, const char *sql);
/* Every row of `sql`: columns joined by |, rows by blanks. */
const char *text(sqlite3 *, const char *sql);
#define expect(db, sql, wanted) ck_assert_str_eq(text(db, sql), wanted)
#define expect_code(db, sql, wanted) ck_assert_int_eq(code_of(db, "%s", sql), wanted)

/* `sql` gives the same rows in both, types and blobs included. */
void same_rows(sqlite3 *, sqlite3 *, const char *sql);
/* Every table of both has the same rows. */
void same_content(sqlite3 *, sqlite3 *);
void integrity(sqlite3 *);

bool exists(const char *path);
int64_t file_size(const char *path);
/* n bytes at offset, straight from the file system. */
void raw_read(const char *path, int64_t offset, void *to, size_t n);
void raw_write(const char *path, int64_t offset, const void *from, size_t n);
void raw_copy(const char *from, const char *to);
uint32_t big_endian(const uint8_t *);
/* Nothing stands beside the database: no log, shared memory, journal, WAL. */
void only_plain_file(const char *path);
/* It is closed, whole and unstamped, and stock SQLite finds no fault. */
void stock_accepts(const char *path);

/* Run `work` in a child process. */
pid_t in_child(void (*work)(void *), void *argument);
/* Kill it, or wait for its end: its exit status, or minus the signal that ended it. */
void kill_child(pid_t);
int child_status(pid_t);
/* Run `work` in a child that kills itself with SIGKILL when it has done so. */
void crash_after(void (*work)(void *), void *argument);

#endif
