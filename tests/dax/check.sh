#!/bin/bash
# make check-dax: a real DAX path.  README.md tells what is proved.
#
#   SPM_SEED    of the second half of the power cuts; a new one is printed otherwise
#   PARTS       of the check program, as SUITE:CASE
#   CUTS        power cuts in each of the two halves (4)
#   LIMIT       seconds one boot may take, work included (900): this is not a measurement
set -u
cd "$(dirname "$0")/../.." || exit 1
CUTS=${CUTS:-4}
PARTS=${PARTS:-format:layout log:log store:lives vfs:methods vfs:sharing}
. tests/dax/work.inc

# ------------------------------------------------------------ the stock shell --

# session NAME MEDIUM PERSISTENCE: the stock shell, in a machine as the variables say.
session() {
  machine_new "$1"
  machine_start "$1" "cat /sys/bus/nd/devices/region0/persistence_domain
    sqlite3 <$MACHINES/session.sql 2>&1
    ls -1 shell.db* && sqlite3 shell.db 'SELECT count(*) FROM t; PRAGMA integrity_check'"
  machine_wait "$1" "$LIMIT" || machine_lament "$1" "the shell fails"
  expected_session "$2" "$3" | diff - "$MACHINES/$1/output" >&2 || machine_lament "$1" "the shell answered something else"
  echo "$fs, $mount, domain $domain: the stock shell is on $2"
}

write_session() {
  cat >"$MACHINES/session.sql" <<SQL
.load $LIBRARY
.open file:/pmem/shell.db?vfs=pmem
PRAGMA auto_vacuum=FULL;
CREATE TABLE t(a INTEGER PRIMARY KEY, b);
PRAGMA pmem_medium;
INSERT INTO t SELECT value, randomblob(value) FROM generate_series(1, 500);
BEGIN; DELETE FROM t WHERE a < 100; UPDATE t SET b = 'x'; ROLLBACK;
SELECT count(*) FROM t WHERE length(b) = a;
INSERT INTO t SELECT value, zeroblob(10000) FROM generate_series(501, 800);
.shell ls -1 shell.db*
.print with a full disk:
.shell n=0; for size in 64M 8M 1M 64K 4K; do while fallocate -l \$size fill.\$((n = n + 1)) 2>/dev/null; do :; done; done
INSERT INTO t SELECT value, zeroblob(10000) FROM generate_series(801, 4000);
SELECT count(*) FROM t;
DELETE FROM t WHERE a > 600;
UPDATE t SET b = randomblob(500);
SELECT count(*), sum(length(b)) FROM t;
.shell rm fill.*
.print with room again:
INSERT INTO t SELECT value, zeroblob(10000) FROM generate_series(601, 800);
SELECT count(*), sum(length(b)) FROM t;
PRAGMA integrity_check;
SQL
}

expected_session() { # MEDIUM PERSISTENCE
  cat <<END
$2
$1
500
shell.db
shell.db-pmlog
shell.db-pmshm
with a full disk:
Runtime error near line 13: database or disk is full (13)
800
600|300000
with room again:
800|2300000
ok
shell.db
800
ok
END
}

# ------------------------------------------------------------------------- all --

# Two lanes, one for each core of a small machine.  A lane that fails ends the other.
lane_of_boots() {
  trap machine_kill_all EXIT
  read -r -a parts <<<"$PARTS"
  suites "${parts[@]}"
  session shell-ext4 pmem memory_controller
  domain=cpu session shell-eadr pmem cpu_cache
  mount=dax=never session shell-never file memory_controller
  fs=xfs session shell-xfs pmem memory_controller
}

lane_of_cuts() {
  trap machine_kill_all EXIT
  cuts cuts-ext4 "$CUTS" 1
  fs=xfs domain=cpu cuts cuts-xfs "$CUTS" "$SPM_SEED"
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
