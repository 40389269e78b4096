#!/bin/sh
# make soak-kills: the same with new seeds, until it is stopped or something is wrong.
#
#   SPM_SEED   of the first run, to begin with; each later one is one more
#   KILLS      in each run (3000)
set -eu
cd "$(dirname "$0")/../.."
. tests/kills/lib.inc
while :; do
  for medium in pmem file; do run_kills $medium "${KILLS:-3000}" "$SPM_SEED"; done
  SPM_SEED=$((SPM_SEED + 1))
done
