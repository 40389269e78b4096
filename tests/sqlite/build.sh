#!/bin/bash
# build.sh FOLDER: SQLite's test programs, from the source package of the SQLite that is installed.
#
# They are built in FOLDER/VERSION and stay there: with everything in place this returns at once.
# Every program has inject.c in it, which makes a VFS from a loadable extension its default.
#
#   SQLITE_JOBS=2   compilers at a time
#
#   FOLDER/VERSION/source   Debian's source, patched
#   FOLDER/VERSION/bin      testfixture, mptester, speedtest1, kvtest, threadtest3, sqlite3, ...
#   FOLDER/VERSION/*.list   test files of SQLite's own permutations: veryquick, full
#   FOLDER/current          a link to FOLDER/VERSION
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)/$(dpkg-query -W -f '${source:Version}' libsqlite3-0)
source=$folder/source bin=$folder/bin
jobs=${SQLITE_JOBS:-2}

key=$(cat "$here"/*.c "$here/build.sh" | sha256sum)
if [ "$(cat "$folder/key" 2>/dev/null)" = "$key" ]; then exit 0; fi
mkdir -p "$folder/objects" "$bin"
rm -f "$folder/key"
[ -d "$source" ] || "$here/fetch.sh" "$folder"
cd "$folder/objects"

# quiet LOG COMMAND...: the end of what it said only if it fails.
quiet() {
  local log=$1
  shift
  "$@" > "$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
}

hook=-DSQLITE_EXTRA_INIT=spm_inject
if [ ! -f Makefile ]; then
  echo "configuring SQLite $(cat "$source/VERSION")"
  quiet configure.log env CFLAGS=-O2 "$source/configure" --enable-all --disable-readline \
    --with-tcl="/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/tcl8.6"
fi
echo "building testfixture"
quiet amalgamation.log make -j"$jobs" sqlite3.c sqlite3.h shell.c OPTS=$hook
for file in inject instrument; do
  gcc -std=gnu11 -O2 -Wall -Wextra -I. -c "$here/$file.c" -o "$file.o"
done
rm -f testfixture
quiet testfixture.log make -j"$jobs" testfixture OPTS=$hook LIBS="$PWD/inject.o $PWD/instrument.o -lm -ldl -lpthread -lz"
cp testfixture "$bin"

# The other programs share one object, with the features that configure chose.
features=$(sed -n 's/^OPT_FEATURE_FLAGS = //p' Makefile)
# shellcheck disable=SC2206
flags=(-O2 -w $features $hook -DHAVE_USLEEP=1 -DHAVE_FDATASYNC=1 -DSQLITE_THREADSAFE=1
  -DSQLITE_ENABLE_DBPAGE_VTAB -DSQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_ENABLE_STMTVTAB
  -DSQLITE_ENABLE_BYTECODE_VTAB -DSQLITE_ENABLE_EXPLAIN_COMMENTS
  -DSQLITE_ENABLE_UNKNOWN_SQL_FUNCTION -DSQLITE_ENABLE_OFFSET_SQL_FUNC
  -DSQLITE_HAVE_ZLIB=1 -I. -I"$source/src")
echo "building the other programs"
gcc "${flags[@]}" -c sqlite3.c -o sqlite3-app.o
program() {
  local name=$1
  shift
  gcc "${flags[@]}" -o "$bin/$name" "$@" sqlite3-app.o inject.o instrument.o -lz -lm -ldl -lpthread
}
program sqlite3 shell.c
program mptester "$source/mptest/mptest.c"
program speedtest1 "$source/test/speedtest1.c"
program kvtest "$source/test/kvtest.c"
program threadtest3 "$source/test/threadtest3.c" "$source/src/test_multiplex.c"
# The times of its tests are constants: a tenth of them in one that is called short.
sed 's/\(", *[0-9]*\)000 }/\100 }/' "$source/test/threadtest3.c" > threadtest3-short.c
program threadtest3-short -I"$source/test" threadtest3-short.c "$source/src/test_multiplex.c"
program sqldiff "$source/tool/sqldiff.c"
program dbhash "$source/tool/dbhash.c"
program changesetfuzz "$source/ext/session/changesetfuzz.c"

# The files of a permutation, in SQLite's own words.
cat > list.tcl <<'TCL'
set permutation [lindex $argv 0]
set argv [list]
set argv0 $::env(SOURCE)/test/listing.test
source $::env(SOURCE)/test/permutations.test
array set o $::testspec($permutation)
foreach f $o(-files) { puts "FILE [file tail $f]" }
catch {db close}
exit 0
TCL
for permutation in veryquick full; do
  SOURCE=$source ./testfixture list.tcl $permutation | sed -n 's/^FILE //p' | sort -u > "$folder/$permutation.list"
done
ln -sfn "$(basename "$folder")" "$folder/../current"
echo "$key" > "$folder/key"
