#!/bin/bash
# make soak-dax: power cuts with new seeds, until it is stopped or something is wrong.
#
#   SPM_SEED    of the first chain, to begin with; each later one is one more
#   CUTS        power cuts in a chain on one NVDIMM (20)
#   LIMIT       seconds one boot may take, work included (600)
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/dax/cuts.inc

machine_get_kernel
machine_make_root "$CUT" "$LIBRARY.so"
while :; do
  for domain in mem-ctrl cpu; do
    for fs in ext4 xfs; do
      cuts soak "${CUTS:-20}" "$SPM_SEED"
      SPM_SEED=$((SPM_SEED + 1))
    done
  done
done
