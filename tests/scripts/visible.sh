# What a store tells of itself in SQL: pmem_stats, pmem_readers, pmem_log, pmem_recovery, and the functions.
. tests/scripts/lib.inc

# The manual has every column.
sqlite3 <<SQL | while read -r column; do grep -q "^| .$column. |" README.md || fail "README.md does not explain pmem_stats.$column"; done
.load $LIB
SELECT name FROM pragma_table_info('pmem_stats');
SQL

# So it has every function and table of ours, and each is for direct use only.
sqlite3 <<SQL >"$PMEM/names"
.load $LIB
SELECT DISTINCT name FROM pragma_function_list WHERE name GLOB 'pmem_*'
UNION SELECT name FROM pragma_module_list WHERE name GLOB 'pmem_*';
SQL
[ "$(wc -l <"$PMEM/names")" -ge 11 ] || fail "there are fewer functions and tables than there were: $(cat "$PMEM/names")"
while read -r name; do
  awk '/^## / { inside = $0 == "## Seeing and steering, in SQL" } inside && /^\| /' README.md | grep -q "\`$name\b" ||
    fail "README.md does not tell of $name"
done <"$PMEM/names"

# What the library says of itself.
version=$(sed -n 's/^VERSION = //p' Makefile)
same "$version" "$(printf '.load %s\nSELECT pmem_version();\n' "$LIB" | sqlite3)" "pmem_version()"
debug=$(printf '.load %s\nSELECT pmem_debug();\n' "$LIB" | sqlite3)
for word in "pmem $version" compiler "SQLite $(sqlite3 ':memory:' 'SELECT sqlite_version()')" libpmem flush eADR; do
  case $debug in *"$word"*) ;; *) fail "pmem_debug() does not tell of $word: $debug" ;; esac
done

for folder in "$PMEM" "$DISK"; do
  db=$folder/seen.db
  medium=$(case $folder in "$PMEM") echo pmem-forced ;; *) echo file ;; esac)

  # Figures that follow from what was done.
  same "$medium|1|3|1|1|1" "$(pmem "$db" <<'SQL' | tail -1
CREATE TABLE t(a);
INSERT INTO t VALUES(1);
INSERT INTO t VALUES(2);
BEGIN; INSERT INTO t VALUES(3); ROLLBACK;
BEGIN; INSERT INTO t SELECT randomblob(1000) FROM t; ROLLBACK;
SELECT medium, attachments, committed_transactions, last_lsn - checkpoint_lsn = committed_transactions,
       avg_write_latency_us > 0 AND p99_commit_us >= avg_write_latency_us / 2, media_bytes_written > 4096 FROM pmem_stats;
SQL
)" "pmem_stats"

  # The log, record by record, before and after a checkpoint; a bad name is told.
  same "data+commit|1|committed|1
4
0" "$(pmem "$db" <<'SQL'
UPDATE t SET a = 4 WHERE a = 2;
SELECT type, checksum_ok, state, count(*) FROM pmem_log('main') GROUP BY 1, 2, 3;
UPDATE t SET a = 5 WHERE a = 4;
SELECT pmem_checkpoint('main') - min(lsn) + 3 FROM pmem_log;
SELECT count(*) FROM pmem_log('main');
SQL
)" "pmem_log"
  pmem "$db" 2>&1 >/dev/null <<'SQL' | grep -q 'nowhere has no log' || fail "pmem_log of nothing is told"
SELECT * FROM pmem_log('nowhere');
SQL

  # A reader that is held, seen from another connection of the same process: none is ahead of it at first.
  python - "$LIB" "$db" <<'PY' || fail "pmem_readers"
import sqlite3, sys
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(sys.argv[1])
def connect(): return sqlite3.connect("file:%s?vfs=pmem" % sys.argv[2], uri=True, isolation_level=None)
reader, writer = connect(), connect()
reader.execute("BEGIN"); reader.execute("SELECT count(*) FROM t").fetchall()
for i in range(3): writer.execute("UPDATE t SET a = a + 1")
behind = [row[0] for row in writer.execute("SELECT lsns_behind FROM pmem_readers('main') WHERE snapshot_lsn NOT NULL ORDER BY 1")]
assert behind == [0, 3], behind
assert writer.execute("SELECT image_bytes > 0, attachments FROM pmem_stats").fetchone() == (1, 2)
reader.execute("COMMIT")
# A writer that was overtaken is counted.
reader.execute("BEGIN"); reader.execute("SELECT count(*) FROM t").fetchall()
writer.execute("UPDATE t SET a = a + 1")
try: reader.execute("UPDATE t SET a = 0"); raise SystemExit("not refused")
except sqlite3.OperationalError: pass
assert writer.execute("SELECT conflicts FROM pmem_stats").fetchone()[0] == 1
# A checkpoint while somebody writes is refused, and says so.
writer.execute("BEGIN IMMEDIATE")
try: loader.execute("SELECT pmem_checkpoint(?)", [sys.argv[2]]); raise SystemExit("not refused")
except sqlite3.OperationalError as error: assert "a transaction is writing" in str(error), error
PY

  # A backup while writers go on: a snapshot, an ordinary database, never over an existing one.
  rm -f "$db.copy"
  same "1" "$(pmem "$db" <<SQL
SELECT pmem_backup('main', '$db.copy') > 0;
SQL
)" "pmem_backup"
  same "2
ok" "$(stock "$db.copy" <<'SQL'
SELECT count(*) FROM t;
PRAGMA integrity_check;
SQL
)" "the backup"
  pmem "$db" 2>&1 >/dev/null <<SQL | grep -q 'is there already, and not empty' || fail "a backup over a database"
SELECT pmem_backup('main', '$db.copy');
SQL

  # A crash with one transaction committed and one under way, and what recovery says of it.
  pmem "$folder/crash.db" >"$folder/out" 2>&1 <<'SQL' || true
.read sql/crash.sql
SQL
  on "$folder"
  same "committed|1
unfinished|1" "$(sqlite3 <<SQL
.load $LIB
SELECT state, count(DISTINCT txid) FROM pmem_log('$folder/crash.db') GROUP BY state ORDER BY state;
SQL
)" "the log after a crash"
  same "load||
sort|T1|committed
sort|T2|unfinished
redo||
redo|T1|REDO: applied again
undo||
undo|T2|UNDO: its records are dropped, the file never saw it
checkpoint||
1|1|1" "$(pmem "$folder/crash.db" <<'SQL'
SELECT 1 FROM ledger WHERE 0;
SELECT phase, CASE txid WHEN min(txid) OVER () THEN 'T1' WHEN max(txid) OVER () THEN 'T2' ELSE '' END,
       CASE WHEN txid THEN action ELSE '' END FROM pmem_recovery('main');
SELECT redone_transactions, undone_transactions, recovery_time_ms > 0 FROM pmem_stats;
SQL
)" "pmem_recovery"
  pmem "$folder/crash.db" <<'SQL' >"$folder/out"
.read sql/recovered.sql
SQL
  grep -q '^ok *$' "$folder/out" || fail "sql/recovered.sql: $(cat "$folder/out")"

  # The views of an operator.
  same "well
1" "$(pmem "$db" <<'SQL' | sed 's/not real.*/well/'
SELECT 1 FROM t WHERE 0;
.read sql/monitor.sql
SELECT state FROM pmem_health;
SELECT count(*) FROM pmem_log_fill, pmem_commit_latency, pmem_write_amplification, pmem_oldest_reader;
SQL
)" "sql/monitor.sql"
done
