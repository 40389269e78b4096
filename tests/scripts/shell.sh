# The first minutes of a user of the stock shell, on both media.
. tests/scripts/lib.inc
for folder in "$PMEM" "$DISK"; do
  db=$folder/first.db
  out=$(pmem "$db" <<SQL
PRAGMA journal_mode=WAL;
CREATE TABLE t(a INTEGER PRIMARY KEY, b);
INSERT INTO t SELECT value, 'row ' || value FROM generate_series(1, 1000);
BEGIN; DELETE FROM t; SELECT count(*) FROM t; ROLLBACK;
SELECT count(*), max(b) FROM t;
PRAGMA integrity_check;
PRAGMA pmem_medium;
SQL
)
  medium=file
  [ "$folder" = "$PMEM" ] && medium=pmem-forced
  same "delete 0 1000|row 999 ok $medium" "$(echo $out)" "queries on $folder"
  only_file "$db"
  same "1000 ok" "$(echo 'SELECT count(*) FROM t; PRAGMA integrity_check;' | stock "$db" | xargs)" "stock SQLite afterwards"
done
