#!/bin/sh
# Install the Debian packages that are missing; without the right to, say how and stop.
#
#   deps.sh          what build and tests need
#   deps.sh SET...   what these proofs need besides
set -eu

# One line a set.
packages_of() {
  case $1 in
    fuzz) echo clang libclang-rt-dev ;;
    valgrind) echo valgrind libc6-dbg ;;
    base) echo gcc libc6-dev make libsqlite3-dev sqlite3 libpmem-dev check libxxhash-dev strace python3 ;;
    dax) echo qemu-system-x86 busybox-static cpio dash e2fsprogs xfsprogs xz-utils zstd ;;
    bench) echo liblmdb-dev librocksdb-dev libpmemobj-dev gnuplot-nox ;;
    sqlite) echo dpkg-dev xz-utils tcl tcl8.6-dev zlib1g-dev ;;
    coverage) echo lcov ;;
    *) echo "deps.sh: no set of packages is called $1" >&2; exit 1 ;;
  esac
}

packages=$(for set in base "$@"; do packages_of "$set"; done)
missing=
for package in $packages; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=sudo
else
  echo "These Debian packages are missing, and neither root nor sudo is at hand. Please run:" >&2
  echo "  apt-get update && apt-get install -y$missing" >&2
  exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get -qq update
# shellcheck disable=SC2086
$as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null
