/*
** inject.c - makes a VFS from a loadable extension the default of a program that has
** its own copy of SQLite.
**
** The programs are compiled with -DSQLITE_EXTRA_INIT=spm_inject: sqlite3_initialize()
** calls it at its end, and again after every sqlite3_shutdown(), where SQLite has just
** made "unix" the default.  Child processes are the same programs with the same
** environment, so they have the VFS too.
**
**     SPM_EXTENSION    path of the extension; unset: the program runs on SQLite's VFS
**     SPM_INSTRUMENT   1: os_unix.c's test instrumentation on top of it (instrument.c)
**     SPM_OPENS        a file that gets a line from each process that exits, with the
**                      number of files it opened through the VFS
**
** The extension is loaded as an application would: on a connection in memory that is
** closed again.  Whatever goes wrong ends the program (97, or 96 if the extension did
** not stay loaded), so that nothing can fall back to the stock VFS unnoticed.
*/
#define _GNU_SOURCE
#include "inject.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VFS_NAME "pmem"
#define EXIT_UNLOADED 96
#define EXIT_FAILED 97

static sqlite3_vfs *injected;
static int (*real_open)(sqlite3_vfs *, sqlite3_filename, sqlite3_file *, int, int *);
static atomic_int opens;

static void die(int code, const char *what, const char *why) {
  fprintf(stderr, "inject: %s: %s\n", what, why);
  _exit(code);
}

/* -------------------------------------------------------------- counting -- */

static int counting_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags) {
  int rc = real_open(v, name, file, flags, out_flags);
  if (rc == SQLITE_OK) opens++;
  return rc;
}

static void report_opens(void) {
  char line[64];
  int fd = open(getenv("SPM_OPENS"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return;
  int n = snprintf(line, sizeof line, "%d %d\n", (int)getpid(), opens);
  if (write(fd, line, (size_t)n) != n) die(EXIT_FAILED, "SPM_OPENS", "cannot be written");
  close(fd);
}

static void count_opens(void) {
  real_open = injected->xOpen;
  injected->xOpen = counting_open;
  atexit(report_opens);
}

/* --------------------------------------------------------------- loading -- */

static void load(const char *path) {
  sqlite3 *db = NULL;
  char *error = NULL;
  if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
    die(EXIT_FAILED, ":memory:", sqlite3_errmsg(db));
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
  if (sqlite3_load_extension(db, path, NULL, &error) != SQLITE_OK) die(EXIT_FAILED, path, error ? error : "?");
  sqlite3_close(db);
  if (dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL) die(EXIT_UNLOADED, path, "it did not stay loaded");
  injected = sqlite3_vfs_find(VFS_NAME);
  if (injected == NULL) die(EXIT_FAILED, path, "it registered no VFS " VFS_NAME);
}

int spm_inject(const char *unused) {
  const char *path = getenv("SPM_EXTENSION");
  (void)unused;
  if (path == NULL) return SQLITE_OK;
  if (injected == NULL) {
    load(path);
    if (getenv("SPM_OPENS")) count_opens();
    if (getenv("SPM_INSTRUMENT")) injected = spm_instrument(injected);
  }
  return sqlite3_vfs_register(injected, 1);
}
