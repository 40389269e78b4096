# V10: what loading does to every later connection of the process: nothing but good.
. tests/scripts/lib.inc
folder=$PMEM/extension
mkdir "$folder"
on "$PMEM"

cat >"$folder/client.c" <<'C'
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#define FLAGS (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI)
static void must(int ok, const char *what) {
  if (ok) return;
  printf("not true: %s\n", what);
  exit(1);
}
#define MUST(condition) must(condition, #condition)
static int load(const char *library, const char *entry) {
  sqlite3 *db;
  if (sqlite3_open(":memory:", &db) != SQLITE_OK) return SQLITE_ERROR;
  sqlite3_enable_load_extension(db, 1);
  int rc = sqlite3_load_extension(db, library, entry, NULL);
  sqlite3_close(db);
  return rc;
}
static sqlite3 *opened(const char *uri, int flags) {
  sqlite3 *db;
  MUST(sqlite3_open_v2(uri, &db, FLAGS | flags, NULL) == SQLITE_OK);
  MUST(sqlite3_errcode(db) == SQLITE_OK);
  MUST(sqlite3_extended_errcode(db) == SQLITE_OK);
  return db;
}
static int run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL); }

int main(int n, char **argument) {
  (void)n;
  char shared[512], plain[512], pmem[512];
  snprintf(plain, sizeof plain, "file:%s/plain.db", argument[2]);
  snprintf(shared, sizeof shared, "file:%s/shared.db?cache=shared&vfs=pmem", argument[2]);
  snprintf(pmem, sizeof pmem, "file:%s/ours.db?vfs=pmem", argument[2]);
  MUST(load(argument[1], NULL) == SQLITE_OK);
  MUST(load(argument[1], NULL) == SQLITE_OK); /* again: harmless */
  /* The default has not changed, and no connection begins with an error. */
  MUST(sqlite3_vfs_find(NULL) != sqlite3_vfs_find("pmem"));
  sqlite3_close(opened(plain, 0));
  sqlite3_close(opened(":memory:", 0));
  /* A table of the shared cache is locked while another connection opens. */
  sqlite3 *holder = opened(shared, 0);
  MUST(run(holder, "CREATE TABLE t(a); BEGIN EXCLUSIVE; INSERT INTO t VALUES(1)") == SQLITE_OK);
  sqlite3_close(opened(shared, 0));
  MUST(run(holder, "COMMIT") == SQLITE_OK);
  sqlite3_close(holder);
  /* sqlite3_shutdown() forgets automatic extensions; the VFS is there all the same. */
  MUST(sqlite3_shutdown() == SQLITE_OK);
  sqlite3 *ours = opened(pmem, 0);
  MUST(run(ours, "CREATE TABLE t(a); INSERT INTO t VALUES(1)") == SQLITE_OK);
  sqlite3_close(ours);
  /* And the entry point that makes it the default; loaded again it stays that. */
  MUST(load(argument[1], "sqlite3_pmemdefault_init") == SQLITE_OK);
  MUST(sqlite3_vfs_find(NULL) == sqlite3_vfs_find("pmem"));
  MUST(load(argument[1], NULL) == SQLITE_OK);
  MUST(sqlite3_vfs_find(NULL) == sqlite3_vfs_find("pmem"));
  puts("ok");
  return 0;
}
C
gcc -Wall -o "$folder/client" "$folder/client.c" -lsqlite3
same ok "$("$folder/client" "$LIB" "$folder")" "a process that loads the library"
