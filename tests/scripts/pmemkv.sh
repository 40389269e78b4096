# The table pmemkv from the stock shell, as its users meet it: the first steps, options,
# plans, several tables in a store, reopening, renaming, dropping, refusals.
. tests/scripts/lib.inc

# kv DATABASE: the stock shell with the library, SQL from standard input; errors are shown.
kv() { on "$1"; { echo ".load $LIB"; cat; } | sqlite3 "$1" 2>&1; }
# refused SQL TEXT: it fails, and says so.
refused() { case $(echo "$1" | kv "$db") in *"$2"*) ;; *) fail "$1: [$(echo "$1" | kv "$db")] does not say [$2]" ;; esac; }

for folder in "$PMEM/kv" "$DISK/kv"; do
  mkdir -p "$folder"
  db=$folder/app.db

  # ------------------------------------------------------------------ first steps --
  expected="Ada
account:1|70
account:2|80
account:1 would have -430
account:2|80
account:1|70
QUERY PLAN
\`--SCAN cache VIRTUAL TABLE INDEX 1:key=?
QUERY PLAN
\`--SCAN cache VIRTUAL TABLE INDEX 1548:key>=? AND key<? DESC
ok"
  same "$expected" "$(kv "$db" <sql/pmemkv.sql)" "sql/pmemkv.sql"
  same "$expected" "$(kv "$db" <sql/pmemkv.sql)" "sql/pmemkv.sql, run again"
  same "$db $db-pmemkv" "$(echo "$db"*)" "files beside the database"
  same "3|Ada" "$(echo "SELECT count(*), min(value) FILTER (WHERE key = 'user:1') FROM cache;" | kv "$db")" "reopening"

  # ---------------------------------------------------------- tables in one store --
  same "1|2
one
1" "$(kv "$db" <<'SQL'
CREATE VIRTUAL TABLE a USING pmemkv;
CREATE VIRTUAL TABLE b USING pmemkv;
BEGIN; INSERT INTO a VALUES(1, 'one'); INSERT INTO b VALUES(1, 'first'), (2, 'second'); COMMIT;
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b);
ALTER TABLE a RENAME TO "Letter A";
SELECT value FROM "letter a" WHERE key = 1;
-- The same tree by the same name, from a temporary table.
CREATE TEMP TABLE keep AS SELECT 1;
CREATE VIRTUAL TABLE temp.b USING pmemkv(path='app.db-pmemkv');
DELETE FROM temp.b WHERE key = 2;
SELECT count(*) FROM main.b;
SQL
  )" "several tables"
  same "1" "$(echo 'DROP TABLE "Letter A"; DROP TABLE b; SELECT count(*) = 3 FROM cache;' | kv "$db")" "the others stay"
  echo 'DROP TABLE cache;' | kv "$db"
  same "$db" "$(echo "$db"*)" "the store goes with its last table"

  # ---------------------------------------------------------------- sorts of values --
  same "integer|real|integer|real|real|text|text|text|blob|blob
-9223372036854775808|0.0|9007199254740993|9.2233720368547758e+18|Inf|''|'a'||X''|X'6162'
integer|null|text|blob|real" "$(kv "$db" <<'SQL'
CREATE VIRTUAL TABLE t USING pmemkv();
INSERT INTO t VALUES(x'6162', 0), (x'', 0), (9007199254740993, 0), (-0.0, 0), (9223372036854775808.0, 0), (1e999, 0),
  (-9223372036854775808, 0), ('', 0), ('a', 0), ('a' || char(0), 0);
SELECT group_concat(typeof(key), '|') FROM (SELECT key FROM t ORDER BY key);
.mode list
SELECT group_concat(CASE typeof(key) WHEN 'text' THEN CASE WHEN instr(key, char(0)) THEN '' ELSE quote(key) END WHEN 'real' THEN printf('%!.17g', key) ELSE quote(key) END, '|') FROM (SELECT key FROM t ORDER BY key);
DELETE FROM t;
INSERT INTO t VALUES(1, 1), (2, NULL), (3, 'three'), (4, zeroblob(3)), (5, 5.0);
SELECT group_concat(typeof(value), '|') FROM (SELECT value FROM t ORDER BY key);
SQL
  )" "types"

  # ------------------------------------------------------------------------ plans --
  plan() { echo "EXPLAIN QUERY PLAN $1" | kv "$db" | sed -n 's/.*INDEX [0-9]*://p'; }
  same "key=?" "$(plan "SELECT * FROM t WHERE key = 1 ORDER BY value")" "a point"
  same "key IN (?)" "$(plan "SELECT * FROM t WHERE key IN (1, 2, 3) ORDER BY key")" "IN"
  same "key>? DESC" "$(plan "SELECT * FROM t WHERE key > 1 ORDER BY key DESC")" "a range"
  same "key>=? AND key<=?" "$(plan "SELECT * FROM t WHERE key BETWEEN 1 AND 3 ORDER BY key")" "BETWEEN"
  same "all DESC LIMIT ? OFFSET ?" "$(plan "SELECT * FROM t ORDER BY key DESC LIMIT 2 OFFSET 1")" "LIMIT"
  same "key LIKE ?" "$(plan "SELECT * FROM t WHERE key LIKE 'a%'")" "LIKE"
  same "all" "$(plan "SELECT * FROM t WHERE key = 'A' COLLATE NOCASE")" "another collation"
  same "" "$(echo 'EXPLAIN QUERY PLAN SELECT DISTINCT key FROM t ORDER BY key, value;' | kv "$db" | grep 'B-TREE' || true)" "no sort"
  same "key>? AND key<?" "$(plan "SELECT max(value) FROM t WHERE key > 1 AND key < 4 AND value <> 2")" "a filter beside"

  # -------------------------------------------------------------------- refusals --
  refused "CREATE VIRTUAL TABLE x USING pmemkv(speed=11);" "speed: there is no such option"
  refused "CREATE VIRTUAL TABLE x USING pmemkv(fast);" "fast: an argument is written option=value"
  refused "CREATE VIRTUAL TABLE x USING pmemkv(size=many);" "size=many: the value must be a number of bytes"
  refused "CREATE VIRTUAL TABLE x USING pmemkv(isolation='none');" "isolation=none: the value must be one of snapshot|serializable"
  refused "CREATE VIRTUAL TABLE x USING pmemkv(path='');" "path: the value must not be empty"
  refused "CREATE VIRTUAL TABLE x USING pmemkv(path='no/such/x.kv');" "/kv/no/such/x.kv"
  refused "CREATE VIRTUAL TABLE x USING pmemkv(path='app.db');" "that is the database itself"
  refused "CREATE VIRTUAL TABLE temp.x USING pmemkv();" "path: it must be given"
  refused "ATTACH ':memory:' AS m; CREATE VIRTUAL TABLE m.x USING pmemkv();" "path: it must be given"
  refused "INSERT INTO t VALUES(NULL, 1);" "NOT NULL constraint failed: t.key"
  refused "INSERT INTO t VALUES(1.0, 1);" "UNIQUE constraint failed: t.key"
  refused "INSERT INTO t VALUES(zeroblob(1088), 1);" "a key of 1088 bytes: keys may have 1087 bytes at most"
  refused "CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;" "cannot create triggers on virtual tables"
  refused "CREATE VIEW v AS SELECT * FROM t; SELECT * FROM v;" "unsafe use of virtual table"
  echo "not a store" >"$folder/text"
  refused "CREATE VIRTUAL TABLE x USING pmemkv(path='text');" "is neither empty nor a key-value store"
  same "not a store" "$(cat "$folder/text")" "a foreign file"
  echo "CREATE VIRTUAL TABLE u USING pmemkv();" | kv "$db"
  refused "ALTER TABLE u RENAME TO t;" "there is already another table or index with this name"
  echo "DROP TABLE u;" | kv "$db"

  # ------------------------------------------------------- a store that was lost --
  mv "$db-pmemkv" "$folder/away"
  refused "SELECT * FROM t;" "there is no such file"
  refused "INSERT INTO t VALUES(1, 1);" "there is no such file"
  mv "$folder/away" "$db-pmemkv"
  same 5 "$(echo "SELECT count(*) FROM t;" | kv "$db")" "the store is back"
  rm "$db-pmemkv"
  same "" "$(echo "DROP TABLE t;" | kv "$db")" "dropping a table whose store is gone"

  # ---------------------------------------------------------------- space and size --
  case $(echo "CREATE VIRTUAL TABLE s USING pmemkv(size='1M');
               INSERT INTO s VALUES('before', 1);
               INSERT INTO s VALUES('too much', randomblob(2000000));
               SELECT value FROM s WHERE key = 'before';
               SELECT count(*), pmem_check('s') FROM s;" | kv "$db" | tr '\n' ' ') in
    *"would pass its size of 1048576 bytes (13) 1 1|ok "*) ;;
    *) fail "a store of limited size" ;;
  esac
  same "1
1|ok" "$(kv "$db" <<'SQL'
CREATE VIRTUAL TABLE big USING pmemkv(path='big.kv');
WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO big SELECT i, randomblob(300) FROM c;
DELETE FROM big WHERE key > 1;
SELECT pmem_shrink('big') < 200000;
SELECT count(*), pmem_check('big') FROM big;
DROP TABLE big; DROP TABLE s;
SQL
  )" "pmem_shrink"
done
