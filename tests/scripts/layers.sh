# Dependencies run downward only: each file may include what is below it.
. tests/scripts/lib.inc

# vfs/ knows nothing of ext/; the store knows nothing of the VFS or SQLite's file API.
! grep -n '#include.*ext/' vfs/*.[ch] vfs/store/*.[ch] || fail "vfs includes ext"
! grep -n '#include "\.\./' vfs/store/*.[ch] || fail "the store includes what is above it"
! grep -n '#include "\.\./vfs/store/' ext/*.[ch] | grep -v 'store/store.h' || fail "ext passes by store.h"
! grep -n '#include "\.\./\.\./vfs/' ext/kv/*.[ch] | grep -Ev 'vfs/(store/(store|region)|options|vfs).h' || fail "the key-value store passes by store.h"
! grep -n '#include "store/' vfs/*.[ch] | grep -Ev 'store/(store|error|region).h' || fail "the VFS passes by store.h"

# The order inside the store, lowest first.
order='error format metrics inspect store shm_layout region lock core counters superblock shm log lines redo words version writeset diff growth apply snapshot write pending checkpoint recovery takeover commit writer flusher unlogged'
rank() {
  n=0
  for name in $order; do
    n=$((n + 1))
    [ "$name" = "$1" ] && { echo $n; return; }
  done
  fail "$1 has no place in the order of layers"
}
for header in vfs/store/*.h; do
  name=$(basename "$header" .h)
  mine=$(rank "$name")
  for other in $(sed -n 's/^#include "\([a-z_]*\)\.h"$/\1/p' "$header"); do
    [ "$other" = sqlite3ext ] && continue
    [ "$(rank "$other")" -lt "$mine" ] || fail "$header includes $other.h, which is not below it"
  done
done

# Only region.c and lock.c talk to the platform about memory and locks.
! grep -nE '\b(pmem_(map_file|flush|drain|memcpy|persist)|mmap|munmap|msync|fdatasync|posix_fallocate|fallocate)\(' \
  ext/*.c ext/kv/*.c vfs/*.c vfs/store/*.c | grep -vE '^vfs/store/region.c' || fail "the platform is called outside region.c"
! grep -nE 'F_OFD_|SYS_futex' ext/*.c ext/kv/*.c vfs/*.c vfs/store/*.c | grep -vE '^vfs/store/lock.c' || fail "locks outside lock.c"
