#!/bin/bash
# run.sh [NAME...]: the scripts of this folder, all or these, on persistent memory and on a disk.
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
export LIBRARY=$BUILD/pmem
pmem=$(mktemp -d /dev/shm/spm-hostile.XXXXXX)
disk=$(mktemp -d "$BUILD/spm-hostile.XXXXXX")
trap 'rm -rf "$pmem" "$disk"' EXIT
chmod 755 "$pmem" "$disk"

# One whose sqlite3 module can load extensions, as Debian's can.
python=
for candidate in /usr/bin/python3 python3; do
  "$candidate" -c 'import sqlite3; sqlite3.connect(":memory:").enable_load_extension(True)' 2>/dev/null || continue
  python=$candidate
  break
done
[ -n "$python" ] || { echo "no python3 here has a sqlite3 module that loads extensions"; exit 1; }

[ $# -gt 0 ] || set -- names copies crowd changed rights clock full
failed=0
for name in "$@"; do
  for medium in "$pmem" "$disk"; do
    case $medium in "$pmem") PMEM_IS_PMEM_FORCE=1 ;; *) PMEM_IS_PMEM_FORCE=0 ;; esac
    export PMEM_IS_PMEM_FORCE
    export FOLDER=$medium/$name
    mkdir "$FOLDER"
    chmod 777 "$FOLDER"
    echo "$name on $([ "$medium" = "$pmem" ] && echo persistent memory || echo a disk):"
    "$python" -B -W ignore "tests/hostile/$name.py" || { echo "FAILED: $name"; failed=1; }
  done
done
exit $failed
