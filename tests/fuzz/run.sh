#!/bin/sh
# Run fuzz targets over the kept corpus, and on from there.
#
#   run.sh check TARGET...     the corpus as it is, then a fixed seed and a new one
#   run.sh SECONDS TARGET...   a new seed, for so long each, half of it on either medium
#
#   SPM_SEED       the new seed
#   SPM_FUZZ_KEEP  a folder: what was found to be new is kept in it, a folder a target
#
# What crashes is left in the folder build-fuzz/found, to be run again as an argument of
# the target's program.
set -eu
cd "$(dirname "$0")/../.."
how=$1
shift
SPM_SEED=${SPM_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
SPM_FUZZ_FOLDER=$(mktemp -d /dev/shm/spm-fuzz.XXXXXX)
export SPM_FUZZ_FOLDER
trap 'rm -rf "$SPM_FUZZ_FOLDER"' EXIT
mkdir -p build-fuzz/found
echo "fuzzing: seed $SPM_SEED"

# A small quarantine: the memory of one input is soon used by the next, which is faster.
export ASAN_OPTIONS=quarantine_size_mb=4
export UBSAN_OPTIONS=print_stacktrace=1

# target NAME WHAT ARGUMENTS: one line if all is well, everything otherwise.
target() {
  name=$1 what=$2
  shift 2
  log=$SPM_FUZZ_FOLDER/output
  if ! "build-fuzz/fuzz_$name" -timeout=30 -rss_limit_mb=3000 -artifact_prefix=build-fuzz/found/ "$@" >"$log" 2>&1; then
    grep -v 'NEW\|REDUCE\|pulse' "$log"
    echo "FAILED: $name, $what"
    exit 1
  fi
  echo "$name, $what: $(grep -E '^(Done|Executed|#[0-9]+.*DONE)' "$log" | tail -n 2 | tr '\n' ' ')"
}

for name; do
  corpus=tests/fuzz/corpus/$name
  new=${SPM_FUZZ_KEEP:-$SPM_FUZZ_FOLDER/new}/$name
  mkdir -p "$new"
  export PMEM_IS_PMEM_FORCE=1
  if [ "$how" = check ]; then
    target "$name" "the kept corpus" -runs=0 "$corpus"
    target "$name" "seed 1" -seed=1 -max_total_time=6 -max_len=400 -len_control=0 "$new" "$corpus"
    how_long=16
  else
    how_long=$how
  fi
  for medium in PMEM FILE; do
    export PMEM_IS_PMEM_FORCE=$([ $medium = PMEM ] && echo 1 || echo 0)
    target "$name" "seed $SPM_SEED on $medium" -seed="$SPM_SEED" -max_total_time=$((how_long / 2)) -max_len=400 \
      -len_control=0 "$new" "$corpus"
  done
done
