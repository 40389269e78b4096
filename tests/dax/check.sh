#!/bin/bash
# make check-dax: a real DAX path.  README.md tells what is proved.
#
#   SPM_SEED    of the second half of the power cuts; a new one is printed otherwise
#   PARTS       of the check program, as SUITE:CASE
#   CUTS        power cuts in each of the two halves (4)
#   LIMIT       seconds one boot may take, work included (600): this is not a measurement
set -u
cd "$(dirname "$0")/../.." || exit 1
CUTS=${CUTS:-4}
PARTS=${PARTS:-format:layout log:log store:lives store:size store:snapshots vfs:methods vfs:sharing}
. tests/dax/cuts.inc

# ------------------------------------------------------- one boot, one command --

# suites SUITE:CASE...: parts of the check program that take no tools of the host and,
# emulated, not too long.
suites() {
  machine_new suites
  machine_start suites "export SPM_PMEM_REAL=1 SPM_SEED=$SPM_SEED CK_TIMEOUT_MULTIPLIER=40 BUILD=/tmp
    export SPM_PMEM_FOLDER=/pmem SPM_FILE_FOLDER=/dev/shm
    for part in $*; do
      CK_RUN_SUITE=\${part%:*} CK_RUN_CASE=\${part#*:} $BUILD/tests || exit 1
      read -r seconds rest </proc/uptime
      echo \"\$part: until \$seconds s\"
      rm -rf /pmem/* /dev/shm/*
    done"
  machine_wait suites "$LIMIT" || machine_lament suites "a suite fails"
  # A name that nobody has is no failure to check, but runs nothing.
  [ "$(grep -c 'Checks: [1-9]' "$MACHINES/suites/output")" = $# ] || machine_lament suites "a suite did not run"
  echo "ext4, dax=always: $* of the check program:" \
    "$(sed -n 's/.*Checks: \([0-9]*\),.*/\1/p' "$MACHINES/suites/output" | awk '{n += $1} END {print n}') checks"
}

# session NAME MEDIUM PERSISTENCE: the stock shell, in a machine as the variables say.
session() {
  machine_new "$1"
  machine_start "$1" "cat /sys/bus/nd/devices/region0/persistence_domain
    sqlite3 <$MACHINES/session.sql && ls shell.db* && sqlite3 shell.db 'SELECT count(*) FROM t; PRAGMA integrity_check'"
  machine_wait "$1" "$LIMIT" || machine_lament "$1" "the shell fails"
  printf '%s\n' "$3" "$2" 500 800 'shell.db' 'shell.db-pmlog' 'shell.db-pmshm' ok shell.db 800 ok |
    diff - "$MACHINES/$1/output" >&2 || machine_lament "$1" "the shell answered something else"
  echo "$fs, $mount, domain $domain: the stock shell is on $2"
}

write_session() {
  cat >"$MACHINES/session.sql" <<SQL
.load $LIBRARY
.open file:/pmem/shell.db?vfs=pmem
PRAGMA pmem_medium;
CREATE TABLE t(a INTEGER PRIMARY KEY, b);
INSERT INTO t SELECT value, randomblob(value) FROM generate_series(1, 500);
BEGIN; DELETE FROM t WHERE a < 100; UPDATE t SET b = 'x'; ROLLBACK;
SELECT count(*) FROM t WHERE length(b) = a;
INSERT INTO t SELECT value, value FROM generate_series(501, 800);
SELECT count(*) FROM t;
.shell ls shell.db*
PRAGMA integrity_check;
SQL
}

# ------------------------------------------------------------------------- all --

# Two lanes, one for each core of a small machine.  A lane that fails ends the other.
lane_of_boots() {
  trap machine_kill_all EXIT
  read -r -a parts <<<"$PARTS"
  suites "${parts[@]}"
  session dax pmem memory_controller
  domain=cpu session eadr pmem cpu_cache
  mount=dax=never session never file memory_controller
  fs=xfs session xfs pmem memory_controller
}

lane_of_cuts() {
  trap machine_kill_all EXIT
  cuts ext4 "$CUTS" 1
  fs=xfs cuts xfs "$CUTS" "$SPM_SEED"
}

echo "seed of the random power cuts: $SPM_SEED"
machine_get_kernel
write_session
machine_make_root "$BUILD/tests" "$CUT" "$LIBRARY.so" "$(command -v sqlite3)" "$MACHINES/session.sql"
lane_of_boots &
lane_of_cuts &
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
wait -n || exit 1
wait -n || exit 1
echo "all of it on a real DAX path"
