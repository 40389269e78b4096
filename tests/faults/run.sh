#!/bin/sh
# Run the program with an empty folder in memory: it syncs much and needs no disk.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-$PWD/build}
folder=$(mktemp -d /dev/shm/spm-faults.XXXXXX)
trap 'rm -rf "$folder"' EXIT
"$BUILD/faults" "$folder"
