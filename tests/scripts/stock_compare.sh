# The same long script on the VFS pmem and on stock SQLite: every line of output, every
# row, and the size of the file that is left must be the same.
. tests/scripts/lib.inc
script=tests/sql/compare.sql
expected=$DISK/expected
mkdir -p "$expected"

# story FIRST-COMMAND NAME: the output of the script, errors included (some are meant).
story() { { echo "$1"; echo ".open $2"; cat "$script"; } | sqlite3 2>&1 || true; }
story '.bail off' "$expected/stock.db" >"$expected/output"
[ "$(wc -l <"$expected/output")" -gt 500 ] || fail "the script stops early: $(tail -3 "$expected/output")"
# What the script breaks on purpose, and nothing else.
same '6 0' "$(grep -c '^Runtime error' "$expected/output") $(grep -c '^Parse error' "$expected/output")" \
  'statements that fail in stock SQLite'
echo .dump | stock "$expected/stock.db" >"$expected/dump"

for folder in "$PMEM/compare" "$DISK/compare"; do
  mkdir "$folder"
  on "$folder"
  db=$folder/pmem.db
  story ".load $LIB" "file:$db?vfs=pmem" >"$folder/output"
  diff "$expected/output" "$folder/output" >"$folder/diff" || fail "output on $folder: $(head -20 "$folder/diff")"
  echo .dump | pmem "$db" >"$folder/dump"
  cmp "$expected/dump" "$folder/dump" || fail "the dump on $folder differs: $(diff "$expected/dump" "$folder/dump" | head -20)"
  only_file "$db"
  echo .dump | stock "$db" >"$folder/dump"
  cmp "$expected/dump" "$folder/dump" || fail "stock SQLite's dump of $db differs"
  same "$(stat -c %s "$expected/stock.db")" "$(stat -c %s "$db")" 'bytes of the two files'
  same ok "$(echo 'PRAGMA integrity_check;' | stock "$db")" "stock SQLite's integrity_check"
  # Page by page: only the counters in the header may differ.
  cmp -l "$expected/stock.db" "$db" | awk '$1 < 25 || ($1 > 28 && $1 < 93) || $1 > 96 { n++ } END { exit n > 0 }' ||
    fail "$db and stock SQLite's file differ outside the header's counters"
done
