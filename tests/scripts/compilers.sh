# gcc and clang both build the library, every warning an error.
. tests/scripts/lib.inc
for compiler in gcc clang; do
  if ! command -v $compiler >/dev/null; then
    echo "SKIPPED: there is no $compiler here"
    continue
  fi
  make -s CC=$compiler CFLAGS=-O1 BUILD="$DISK/$compiler" all || fail "$compiler"
  [ -s "$DISK/$compiler/pmem.so" ] || fail "$compiler made no library"
done
