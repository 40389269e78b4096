#!/bin/sh
# Build the benchmark and run it in scratch folders on tmpfs and on disk.
#   ROUNDS=21   rounds whose median is shown
set -eu
cd "$(dirname "$0")/.."
gcc -std=gnu11 -O2 -Wall -Wextra -o build/bench tests/bench.c -lsqlite3
fast=$(mktemp -d /dev/shm/spm-bench.XXXXXX)
disk=$(mktemp -d "$PWD/build/spm-bench.XXXXXX")
trap 'rm -rf "$fast" "$disk"' EXIT
PMEM_IS_PMEM_FORCE=1 ./build/bench "$PWD/build/pmem" tmpfs "$fast" "${ROUNDS:-21}"
echo
PMEM_IS_PMEM_FORCE=0 ./build/bench "$PWD/build/pmem" disk "$disk" "${ROUNDS:-21}"
