# In the steady state neither a commit nor a read transaction on persistent memory makes
# a system call: N and 2N of them in one kind of process, under strace, the difference
# divided by N.  The client is a small C program, so that the calls are not its own.
. tests/scripts/lib.inc
folder=$PMEM/syscalls
mkdir "$folder"

skip() { echo "SKIPPED: $*"; exit 0; }
command -v strace >/dev/null || skip 'there is no strace'
strace -o "$folder/trace" true 2>"$folder/why" || skip "strace may not trace here: $(cat "$folder/why")"

cat >"$folder/client.c" <<'C'
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define MUST(call) if ((call) != SQLITE_OK) { fprintf(stderr, "%s\n", sqlite3_errmsg(db)); return 1; }
/* client LIBRARY URI update|insert|select|readers COUNT */
int main(int n, char **a) {
  sqlite3 *db, *other;
  sqlite3_stmt *s;
  if (n != 5) return 2;
  if (sqlite3_open(":memory:", &db) != SQLITE_OK) return 1;
  sqlite3_enable_load_extension(db, 1);
  MUST(sqlite3_load_extension(db, a[1], 0, 0))
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;
  if (sqlite3_open_v2(a[2], &db, flags, 0) != SQLITE_OK) return 1;
  MUST(sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)", 0, 0, 0))
  MUST(sqlite3_exec(db, "INSERT OR REPLACE INTO t SELECT value, zeroblob(100) FROM json_each('[1,2,3,4,5,6,7,8,9]')", 0, 0, 0))
  const char *sql = strcmp(a[3], "update") == 0 || strcmp(a[3], "readers") == 0 ? "UPDATE t SET b = ?1 WHERE a = ?1 % 9 + 1"
                  : strcmp(a[3], "insert") == 0 ? "INSERT OR REPLACE INTO t VALUES(?1 % 1000, 'text')" : "SELECT b FROM t WHERE a = ?1 % 9 + 1";
  MUST(sqlite3_prepare_v2(db, sql, -1, &s, 0))
  if (sqlite3_open_v2(a[2], &other, flags, 0) != SQLITE_OK) return 1;
  if (strcmp(a[3], "readers") == 0) /* another connection holds a snapshot all the time */
    MUST(sqlite3_exec(other, "BEGIN; SELECT count(*) FROM t", 0, 0, 0))
  int rc = SQLITE_OK;
  for (int i = 0; i < atoi(a[4]); i++) {
    sqlite3_bind_int(s, 1, i);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) continue;
    sqlite3_reset(s);
    if (rc != SQLITE_DONE) { fprintf(stderr, "%d: %s\n", i, sqlite3_errmsg(db)); return 1; }
  }
  sqlite3_finalize(s);
  sqlite3_close(other);
  return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}
C
gcc -O1 -o "$folder/client" "$folder/client.c" -lsqlite3

# calls WORK COUNT: the system calls of a whole process, all kinds and threads.
calls() {
  rm -f "$folder"/t.db*
  strace -f -qq -o "$folder/trace" "$folder/client" "$LIB.so" "file:$folder/t.db?vfs=pmem&pmem_max_log_size=1M" "$1" "$2" ||
    fail "the client failed"
  wc -l <"$folder/trace"
}
# per_thousand WORK N: how many more calls a thousand more transactions make.
per_thousand() {
  few=$(calls "$1" "$2")
  many=$(calls "$1" $(($2 * 2)))
  echo $(((many - few) * 1000 / $2))
}

export PMEM_IS_PMEM_FORCE=1
for work in update insert select; do
  found=$(per_thousand $work 20000)
  [ "$found" -le 5 ] && [ "$found" -ge -5 ] ||
    fail "a thousand transactions ($work) make $found system calls: $(sed 's/(.*//' "$folder/trace" | awk '{print $2}' | sort | uniq -c | sort -rn | head -5 | xargs)"
done
# With a snapshot held for ever the table of images has to be looked after now and then.
found=$(per_thousand readers 20000)
[ "$found" -le 50 ] || fail "a thousand commits under a reader make $found system calls"

# It can fail: without persistent memory a commit is made of system calls.
export PMEM_IS_PMEM_FORCE=0
found=$(per_thousand update 500)
[ "$found" -ge 2000 ] || fail "a thousand commits on a file make only $found system calls: this test sees nothing"
