#!/bin/sh
# Half of STATEMENTS from a fixed seed, half from a new one, which is printed (SPM_SEED=... gives it again).
set -eu
STATEMENTS=${STATEMENTS:-1000000}
SPM_SEED=${SPM_SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
folder=$(mktemp -d /dev/shm/spm-kv-model.XXXXXX)
trap 'rm -rf "$folder"' EXIT
echo "seeds: 1 and $SPM_SEED"
for seed in 1 "$SPM_SEED"; do
  PMEM_IS_PMEM_FORCE=1 "$BUILD/kv-model" "$folder" "$seed" $((STATEMENTS / 2))
done
