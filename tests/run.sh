#!/bin/sh
# Run the test program, with a folder on each medium, and print check's totals last.
#
#   CK_RUN_SUITE, CK_RUN_CASE   only these (check's own variables)
#   SPM_SEED                    the random tests' second seed; a new one is printed otherwise
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-$PWD/build}
SPM_SEED=${SPM_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
SPM_PMEM_FOLDER=$(mktemp -d /dev/shm/spm-test.XXXXXX)
SPM_FILE_FOLDER=$(mktemp -d "$BUILD/spm-test.XXXXXX")
export BUILD SPM_SEED SPM_PMEM_FOLDER SPM_FILE_FOLDER
trap 'rm -rf "$SPM_PMEM_FOLDER" "$SPM_FILE_FOLDER"' EXIT
echo "seed of the random tests: $SPM_SEED"
"$BUILD/tests"
