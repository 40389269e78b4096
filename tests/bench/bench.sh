#!/bin/bash
# Run the benchmarks in scratch folders on tmpfs and on disk, print their tables, draw them.
#
#   ROUNDS=21             rounds whose medians are shown
#   KEYS="100000 1000000" key-value stores of these sizes
#   ONLY="kv-c latency"   only these: database disk kv-sql kv-c latency recovery
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$PWD/build
keys=${KEYS:-100000 1000000}
only=${ONLY:-database kv-sql kv-c latency recovery disk}
export DATA_FOLDER=$build/chart PMEM_LIBRARY=$build/pmem
mkdir -p "$DATA_FOLDER"
fast=$(mktemp -d /dev/shm/spm-bench.XXXXXX)
disk=$(mktemp -d "$build/spm-bench.XXXXXX")
trap 'rm -rf "$fast" "$disk"' EXIT

# SQLite's own LSM table is in its source only.
lsm1() {
  local source
  [ -f "$build/lsm.so" ] && return
  source=$(find "$build/sqlite" -maxdepth 2 -name source 2>/dev/null | tail -1)
  if [ -z "$source" ]; then
    tests/sqlite/fetch.sh "$build/lsm1" || return
    source=$build/lsm1/source
  fi
  gcc -shared -fPIC -O2 -w -DLSM_MUTEX_PTHREADS=1 -o "$build/lsm.so" "$source"/ext/lsm1/lsm_*.c
}

# measure FOLDER NAME: one benchmark, in a folder of its own that goes at once.
measure() {
  mkdir "$1/$2"
  "$build/bench" "$2" "$1/$2"
  rm -rf "${1:?}/$2"
}

echo "SQLite $(sqlite3 --version | cut -d' ' -f1), $(getconf _NPROCESSORS_ONLN) processors," \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1); medians of ${ROUNDS:-21} interleaved rounds"
charts=
for name in $only; do
  case $name in
    kv-sql | kv-c)
      if [ "$name" = kv-sql ] && lsm1; then export LSM_LIBRARY=$build/lsm; fi
      for KEYS in $keys; do
        export KEYS
        PMEM_IS_PMEM_FORCE=1 measure "$fast" "$name"
        charts="$charts $name-$KEYS"
      done
      ;;
    disk)
      PMEM_IS_PMEM_FORCE=0 measure "$disk" disk
      charts="$charts disk"
      ;;
    *)
      PMEM_IS_PMEM_FORCE=1 measure "$fast" "$name"
      [ "$name" = recovery ] || charts="$charts $name"
      ;;
  esac
done

[ -n "$charts" ] || exit 0
for kind in svg png; do
  gnuplot -e "folder='$DATA_FOLDER'; names='${charts# }'; picture='$build/bench.$kind'" tests/bench/chart.gp
done
echo
echo "drawn in build/bench.svg and build/bench.png"
