#!/bin/sh
# A tour of the VFS pmem on real data: Debian's package index in the stock sqlite3 shell,
# with a process killed in the middle of a transaction.  `make demo` runs it.
#
#   DEMO_FOLDER   where the database is made, in a folder of its own, and removed again
#                 (default: /dev/shm, or /tmp where that is too small)
#   BUILD         where pmem.so is (default: build)
#
# Ends with a status other than 0 if any step did not give what it promised.
set -eu
cd "$(dirname "$0")/.."
LIB=${BUILD:-$PWD/build}/pmem
case $LIB in /*) ;; *) LIB=$PWD/$LIB ;; esac
NEEDED_KIB=400000
STATUS_FILE=/var/lib/dpkg/status
started=$(date +%s)

# ------------------------------------------------------------------ small helpers --

if [ -t 1 ]; then bold=$(printf '\033[1m') green=$(printf '\033[32m') red=$(printf '\033[31m') plain=$(printf '\033[0m')
else bold='' green='' red='' plain=''; fi
step_number=0
step() { step_number=$((step_number + 1)); printf '\n%s%d. %s%s\n\n' "$bold" "$step_number" "$*" "$plain"; }
seen() { printf '%s ✓ %s%s\n' "$green" "$*" "$plain"; }
fail() { printf '%s ✗ %s%s\n' "$red" "$*" "$plain"; said=yes; exit 1; }
# same EXPECTED ACTUAL WHAT
same() { [ "$1" = "$2" ] || fail "$3: expected $1, got $2"; }
indent() { sed 's/^/  /'; }
listing() { awk 'NR > 1 { printf "  %-20s %9.1f KiB\n", $NF, $5 / 1024 }'; }
list() { echo '  $ ls'; ls -l "$folder" | listing; }
files() { (cd "$folder" && echo *); }
# The head of every session with the database open on the VFS.
opening() { printf '.bail on\n.load %s\n.open file:%s?vfs=pmem\n' "$LIB" "$database"; }
# pmem SQL, stock SQL: one answer, through the VFS or as any other program would see it.
pmem() { { opening; printf '%s\n' "$1"; } | sqlite3 -batch; }
stock() { printf '.bail on\n%s\n' "$1" | sqlite3 -batch "$database"; }

# ------------------------------------------------------------- where and with what --

folder='' source='' writer='' said=''
tidy() {
  status=$?
  trap - EXIT
  [ "$status" = 0 ] || [ -n "$said" ] || echo "the demo stopped in step $step_number" >&2
  [ -z "$writer" ] || kill -9 "$writer" 2>/dev/null || true
  [ -z "$folder" ] || rm -rf "$folder"
  [ -z "$source" ] || rm -rf "$source"
  exit "$status"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

roomy() { [ -d "$1" ] && [ -w "$1" ] && [ "$(df -Pk "$1" | awk 'NR == 2 { print $4 }')" -ge "$NEEDED_KIB" ]; }
place=${DEMO_FOLDER:-/dev/shm}
if [ -z "${DEMO_FOLDER:-}" ] && ! roomy "$place"; then place=/tmp; fi
roomy "$place" || fail "$place has no 400 MB free that can be written to; DEMO_FOLDER names another folder"
[ -e "$LIB.so" ] || fail "$LIB.so is not there: run make first"
folder=$(mktemp -d "$place/sqlite-pmem-demo.XXXXXX")
folder=$(cd "$folder" && pwd -P)
source=$(mktemp -d)
database=$folder/packages.db

step 'Where the database is, and where its rows come from'
if [ "$(stat -f -c %T "$folder")" = tmpfs ]; then
  export PMEM_IS_PMEM_FORCE=1
  echo "  $folder is tmpfs, taken for persistent memory (PMEM_IS_PMEM_FORCE=1):"
  echo '  what was committed survives the death of every process, but not of the machine.'
else
  echo "  $folder"
fi
index='the package index of apt'
(apt-cache dumpavail 2>/dev/null || true) >"$source/packages"
if ! grep -q '^Package: ' "$source/packages"; then
  index='the packages dpkg has installed'
  cp "$STATUS_FILE" "$source/packages" 2>/dev/null || fail 'neither apt nor dpkg knows any package here'
fi
stanzas=$(grep -c '^Package: ' "$source/packages")
# Counted by another way than the one that loads them.
distinct=$(awk '/^Package: / { p = $2 } /^Version: / { v = $2 } /^Architecture: / { a = $2 }
                /^$/ { if (v) print p, v, a; v = "" } END { if (v) print p, v, a }' \
               "$source/packages" | sort -u | wc -l)
medium=$(pmem 'SELECT count(*) FROM sqlite_schema; PRAGMA pmem_medium;' | tail -n 1)
case ${PMEM_IS_PMEM_FORCE:-0}/$medium in
  1/pmem-forced | 0/pmem | 0/file) ;;
  *) fail "the medium is not what it should be: $medium" ;;
esac
seen "$stanzas packages to load, from $index; the database is new, its medium: $medium"

# -------------------------------------------------------------------------- loading --

step 'Loading: tables, indexes, full text and R-Tree, in one transaction'
tty=0
[ ! -t 2 ] || tty=1
{
  opening
  echo '.read sql/demo-schema.sql'
  echo ".import --ascii \"|awk -v total=$stanzas -v tty=$tty -f sql/demo.awk '$source/packages'\" stanza"
  echo ".shell ls -l '$folder' >'$source/files'"
  echo "SELECT count(*) FROM package;"
} | sqlite3 -batch >"$source/loaded"
same "$distinct" "$(cat "$source/loaded")" 'packages in the database'
same 'packages.db packages.db-pmlog packages.db-pmshm' "$(awk 'NR > 1 { print $NF }' "$source/files" | xargs)" 'files while open'
echo '  $ ls    # while the database was open'
listing <"$source/files"
counts='SELECT (SELECT count(*) FROM package), (SELECT count(*) FROM dependency), (SELECT count(*) FROM words), (SELECT count(*) FROM footprint)'
before=$(pmem "$counts;")
same "$distinct" "$(echo "$before" | cut -d'|' -f4)" 'packages in the R-Tree'
echo
list
seen "$(echo "$before" | awk -F'|' '{ print $1 " packages and " $2 " dependencies" }') are in one plain SQLite file; the log and the shared memory stood beside it only while it was open"

# -------------------------------------------------------------------------- queries --

step 'Queries, and a transaction that is taken back'
{ opening; echo '.read sql/demo.sql'; } | sqlite3 -batch >"$source/queries"
indent <"$source/queries"
same 6 "$(grep -c '└' "$source/queries")" 'queries that answered'
row() { awk -F'│' -v moment="$1" '{ gsub(/ /, "", $2) } $2 == moment { print $3 + 0, $4 + 0, $5 + 0, $6 + 0 }' "$source/queries"; }
same "$(row before)" "$(row afterROLLBACK)" 'counts after ROLLBACK'
[ -n "$(row inside)" ] && [ "$(row before)" != "$(row inside)" ] || fail 'the transaction deleted nothing'
same "$before" "$(pmem "$counts;")" 'counts in the next session'
seen 'inside the transaction the packages were gone; after ROLLBACK tables, full text and R-Tree are as before'

# ----------------------------------------------------------------------------- kill --

step 'A process killed in the middle of a transaction'
mkfifo "$source/pipe"
sqlite3 -batch <"$source/pipe" >"$source/writer" 2>&1 &
writer=$!
exec 3>"$source/pipe"
say() { echo "  writer> $1"; echo "$1" >&3; }
answered() { # wait until the writer has printed this many lines
  for _ in $(seq 600); do
    [ "$(wc -l <"$source/writer")" -lt "$1" ] || return 0
    sleep 0.1
  done
  fail "the writer does not answer: $(cat "$source/writer")"
}
echo "  process $writer is sqlite3, with the database open:"
opening >&3
say "CREATE TABLE diary(entry TEXT);"
say "INSERT INTO diary VALUES('committed before the kill');"
echo "PRAGMA cache_size=50; -- so that uncommitted pages leave SQLite's cache" >&3
say "BEGIN; INSERT INTO diary VALUES('never committed');"
say "DELETE FROM package WHERE id % 2;"
say "UPDATE package SET description = 'overwritten';"
say "SELECT count(*), min(description), max(description) FROM package;"
answered 1
indent <"$source/writer"
half=$(cut -d'|' -f1 "$source/writer")
[ "$half" -lt "$distinct" ] && [ "$half" -gt 0 ] || fail "the writer sees $half packages"
same "$before" "$(pmem "$counts;")" 'counts in another process meanwhile'
seen "the writer sees $half packages, all overwritten; another process, meanwhile, still all $distinct"
echo
if answer=$(stock 'SELECT count(*) FROM package;' 2>&1); then fail "stock SQLite read an open database: $answer"; fi
echo "  \$ kill -9 $writer"
kill -9 "$writer"
wait "$writer" 2>/dev/null || status=$?
writer=''
exec 3>&-
same 137 "${status:-0}" 'exit status of the writer'
list
if answer=$(stock 'SELECT count(*) FROM package;' 2>&1); then fail "stock SQLite read a file that awaits recovery: $answer"; fi
echo '  $ sqlite3 packages.db "SELECT count(*) FROM package"'
echo "  $answer"
case $answer in *'not a database'*) ;; *) fail 'that is not the refusal that was promised' ;; esac
seen 'the process is dead, its files are still there, and stock SQLite is told that the file is not its own'

# ------------------------------------------------------------------------- recovery --

step 'Opening again is the recovery'
pmem "$counts; SELECT entry FROM diary; SELECT count(*) FROM package WHERE description = 'overwritten'; PRAGMA integrity_check;
INSERT INTO words(words) VALUES('integrity-check'); SELECT rtreecheck('footprint');" >"$source/recovered"
{ echo 'packages|dependencies|full text|R-Tree'; cat "$source/recovered"; } | indent
same "$before
committed before the kill
0
ok
ok" "$(cat "$source/recovered")" 'the recovered database'
seen "what had been committed is there, nothing of the rest is; integrity_check, FTS5's and the R-Tree's own say ok"

# ---------------------------------------------------------------------- clean close --

step 'After the clean close'
list
same packages.db "$(files)" 'files left'
everything='SELECT count(*), sum(length(name)), sum(installed_kib), max(description) FROM package;
SELECT count(*), sum(length(name)), sum(position) FROM dependency;'
ours=$(pmem "$everything")
theirs=$(stock "$everything")
echo '  $ sqlite3 packages.db "PRAGMA integrity_check; SELECT count(*) FROM package"'
checked=$(stock 'PRAGMA integrity_check; SELECT count(*) FROM package;')
echo "$checked" | indent
same "ok
$distinct" "$checked" 'stock SQLite'
same "$ours" "$theirs" 'what stock SQLite reads'
same packages.db "$(files)" 'files left by stock SQLite'
seen 'one plain file is left, and stock SQLite reads the same in it'

printf '\n%sEvery step gave what it promised, in %d seconds.%s\n' "$bold" $(($(date +%s) - started)) "$plain"
