#!/bin/bash
# make soak-dax: the longer suites, then power cuts with new seeds, until it is stopped or
# something is wrong.
#
#   PARTS       of the check program, as SUITE:CASE
#   SPM_SEED    of the first chain, to begin with; each later one is one more
#   CUTS        power cuts in a chain on one NVDIMM (20)
#   LIMIT, SUITES_LIMIT   seconds one boot with a power cut, and that with the suites, may
#               take (900, 7200)
set -u
cd "$(dirname "$0")/../.." || exit 1
PARTS=${PARTS:-store:failures store:size store:writers recovery:recovery vfs:pages vfs:transactions growth:growth}
SUITES_LIMIT=${SUITES_LIMIT:-7200}
. tests/dax/work.inc

machine_get_kernel
machine_make_root "$BUILD/tests" "$CUT" "$LIBRARY.so"
read -r -a parts <<<"$PARTS"
LIMIT=$SUITES_LIMIT suites "${parts[@]}"
while :; do
  for domain in mem-ctrl cpu; do
    for fs in ext4 xfs; do
      cuts cuts-soak "${CUTS:-20}" "$SPM_SEED"
      SPM_SEED=$((SPM_SEED + 1))
    done
  done
done
