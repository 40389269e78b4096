#!/bin/bash
# programs.sh SUITE EXTENSION [short|long]: SQLite's own test programs on the VFS `pmem`.
#
#   mptester      several processes write one database; some of them crash in the middle
#   threadtest3   many threads on one database
#   speedtest1    the same work as on stock SQLite: same hash, same content, intact
#   kvtest        blobs by key, read and written in every way
#
# short, the default, takes about a minute and a half on two cores; long (`make soak-sqlite`) is what
# SQLite's makefile does, and more. No row is judged by the time it takes. Ends with 0 only if every
# row passed.
set -euo pipefail
suite=$(cd "$1" && pwd) extension=$(readlink -f "$2") length=${3:-short}
bin=$suite/bin source=$suite/source
export PMEM_IS_PMEM_FORCE=1

case $length in
  short) repeats=1 threads=threadtest3-short size=10 blobs=2000 ;;
  long) repeats=20 threads=threadtest3 size=100 blobs=20000 ;;
  *) echo "programs.sh: short or long?" >&2; exit 2 ;;
esac
scratch=$(mktemp -d /dev/shm/spm-programs.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

rows=0 failed=0 began=$SECONDS
declare -A count
# row PROGRAM WHAT WHY: one line; WHY is what went wrong, or empty.
row() {
  local program=$1
  rows=$((rows + 1))
  count[$program]=$((${count[$program]:-0} + 1))
  shift
  set -- "$program $1" "$2"
  if [ -z "$2" ]; then
    echo "  ok    $1"
  else
    failed=$((failed + 1))
    echo "  FAIL  $1: $2"
    tail -15 out | sed 's/^/        /'
  fi
}
# on_pmem COMMAND...: with the VFS as default, its output in `out`.
on_pmem() { SPM_EXTENSION=$extension timeout -k 5 1800 "$@" > out 2>&1; }
on_stock() { timeout -k 5 1800 "$@" > out 2>&1; }
# Is the database intact, and was it left as an ordinary file? Clients of mptester may still be closing it.
damage() {
  local answer tries
  for ((tries = 0; tries < 600; tries++)); do
    [ -e "$1-pmlog" ] || break
    sleep 0.1
  done
  answer=$("$bin/sqlite3" -cmd '.timeout 60000' "$1" 'PRAGMA integrity_check' 2>&1 | head -1)
  [ "$answer" = ok ] || echo "stock SQLite says: $answer"
  [ ! -e "$1-pmlog" ] || echo "its log was left behind"
}

# ------------------------------------------------------------------- mptester
# config01.test runs only if the VFS is called unix: in the copy used here the name does not matter.
cp "$source"/mptest/*test .
sed -i "s/--if vfsname() GLOB 'unix'/--if vfsname() GLOB '*'/" config01.test

# mptest SCRIPT MODE REPEATS: at least as many tests as stock SQLite runs, no error, no damage.
mptest() {
  local least db=mptest.db why='' summary
  case $1 in config01) least=163 ;; config02) least=627 ;; crash01) least=94 ;; multiwrite01) least=81 ;; esac
  on_pmem "$bin/mptester" "$db" --journalmode "$2" --repeat "$3" --vfs pmem --quiet "$1.test" || why="status $?"
  summary=$(sed -n 's/^Summary: \([0-9]*\) errors out of \([0-9]*\) tests.*/\1 \2/p' out | tail -1)
  [ "${summary% *}" = 0 ] || why="$why errors: ${summary:-no summary}"
  [ "${summary#* }" -ge $((least * $3)) ] || why="$why only ${summary#* } tests"
  row mptester "$1, $2: ${summary#* } tests" "$why$(damage "$db")"
  rm -f "$db"*
}
mptest config01 delete 1
for mode in delete truncate persist; do
  mptest config02 $mode 1
  mptest crash01 $mode $repeats
  mptest multiwrite01 $mode $repeats
done

# ---------------------------------------------------------------- threadtest3
# Not run: walthread2, walthread5 and checkpoint_starvation_1, which look for the -wal file themselves.
for name in walthread1 walthread3 walthread4 cgt_pager_1 dynamic_triggers checkpoint_starvation_2 \
  create_drop_index_1 lookaside1 vacuum1 stress1 stress2 shared1; do
  why=
  on_pmem "$bin/$threads" $name || why="status $?"
  grep -q '^0 errors out of 1 tests' out || why="$why errors"
  row threadtest3 "$name" "$why$(for db in *.db; do damage "$db"; done)"
  rm -f ./*.db*
done

# ----------------------------------------------------------------- speedtest1
# speed NAME OPTIONS...: the work is deterministic, so both must end with the same content.
speed() {
  local name=$1 why='' stock pmem
  shift
  on_stock "$bin/speedtest1" --size $size --verify "$@" stock.db || why="stock: status $?"
  stock=$(grep -i 'verification hash' out) || why="$why no hash"
  on_pmem "$bin/speedtest1" --size $size --verify --vfs pmem "$@" pmem.db || why="$why status $?"
  pmem=$(grep -i 'verification hash' out) || why="$why no hash"
  [ "$stock" = "$pmem" ] || why="$why other answers"
  [ "$("$bin/dbhash" stock.db | cut -c1-40)" = "$("$bin/dbhash" pmem.db | cut -c1-40)" ] || why="$why other content"
  row speedtest1 "$name" "$why$(damage pmem.db)"
  rm -f ./*.db*
}
speed main --journal delete
speed exclusive --exclusive --journal truncate
speed autovacuum --autovacuum --journal persist
speed mmap --journal delete --mmap 268435456
speed rtree --testset rtree
speed orm --testset orm
speed cte --testset cte

# --------------------------------------------------------------------- kvtest
# kv NAME OPTIONS...
kv() {
  local name=$1 why=
  shift
  on_pmem "$bin/kvtest" run kv.db --count $blobs --max-id $blobs "$@" --integrity-check || why="status $?"
  grep -qi 'integrity-check: *ok' out || why="$why no ok from its integrity check"
  row kvtest "$name" "$why$(damage kv.db)"
}
on_pmem "$bin/kvtest" init kv.db --count $blobs --size 2000 || row kvtest init "status $?"
kv "read in order" --asc
kv "read at random" --random
kv "read mapped" --random --mmap 1073741824
kv "read by the blob API" --random --blob-api
kv "read, a transaction each" --random --multitrans
kv "update" --random --update --jmode delete
kv "update, a transaction each" --random --update --multitrans --jmode truncate
kv "update mapped" --random --update --mmap 1073741824

echo
echo "SQLite's test programs"
for program in mptester threadtest3 speedtest1 kvtest; do printf '  %-40s%8d\n' "$program, runs" "${count[$program]:-0}"; done
printf '  %-40s%8d\n' failed $failed seconds $((SECONDS - began))
[ $failed = 0 ]
