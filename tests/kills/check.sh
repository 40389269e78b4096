#!/bin/sh
# make check-kills: four runs of kills, on each medium one with a fixed seed and one with
# a new one.  README.md tells what is proved.
#
#   SPM_SEED   of the second run on each medium; a new one is printed otherwise
#   KILLS      in each of the four runs (760)
set -eu
cd "$(dirname "$0")/../.."
. tests/kills/lib.inc
KILLS=${KILLS:-760}

# As many cores as there are media: both at once.
medium_of_each_seed() {
  for seed in 1 "$SPM_SEED"; do run_kills "$1" "$KILLS" "$seed" || return 1; done
}
echo "seed of the random kills: $SPM_SEED"
medium_of_each_seed pmem >"$FOLDERS/pmem.out" 2>&1 &
pmem=$!
file_failed=0
medium_of_each_seed file || file_failed=1
pmem_failed=0
wait $pmem || pmem_failed=1
cat "$FOLDERS/pmem.out"
[ $file_failed = 0 ] && [ $pmem_failed = 0 ]
