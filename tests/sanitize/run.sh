#!/bin/sh
# Run what was built for a sanitizer, or the tests under valgrind, and fail on any report.
#
#   run.sh asan|tsan|valgrind short|full
#
# A report ends the process that made it, which fails its test.  Children that a test
# kills could take a report with them: so reports go to files, and a file is a failure
# whatever the tests say.
#
#   SPM_SEED         the random tests' second seed; a new one is printed otherwise
#   THREAD_SECONDS   of each of tsan's four runs of threads
set -eu
cd "$(dirname "$0")/../.."
tool=$1 length=$2
BUILD=$PWD/build-$tool
SPM_SEED=${SPM_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
memory=$(mktemp -d /dev/shm/spm-sanitize.XXXXXX)
disk=$(mktemp -d "$BUILD/spm-sanitize.XXXXXX")
trap 'rm -rf "$memory" "$disk"' EXIT
reports=$memory/reports
mkdir "$reports"
SPM_PMEM_FOLDER=$memory SPM_FILE_FOLDER=$disk
CK_TIMEOUT_MULTIPLIER=20
CK_EXCLUDE_TAGS=every-instruction # most of which would be the sanitizer's own
export BUILD SPM_SEED SPM_PMEM_FOLDER SPM_FILE_FOLDER CK_TIMEOUT_MULTIPLIER CK_EXCLUDE_TAGS
echo "$tool: seed of the random tests: $SPM_SEED"

failed=0
quick='format log damage store unlogged growth zero_copy vfs kv pmemkv decision'
slow='recovery adopt multi processes together ddl durability'
sharing='vfs:sharing store:snapshots store:writers kv:sharing pmemkv:sharing'
concurrent='store vfs kv pmemkv decision unlogged together processes'

# suites RUNNER NAME...: these suites of the check program; SUITE:CASE is one case of it, and
# an underscore stands for the space in a name.
suites() {
  runner=$1
  shift
  for suite; do
    suite=$(echo "$suite" | tr _ ' ')
    case $suite in
      *:*) export CK_RUN_CASE="${suite#*:}" ;;
      *) unset CK_RUN_CASE ;;
    esac
    # shellcheck disable=SC2086
    CK_RUN_SUITE=${suite%%:*} $runner "$BUILD/tests" || failed=1
  done
}

threads() {
  mkdir "$1"
  PMEM_IS_PMEM_FORCE=$2 "$BUILD/threads" "$1" "$3" "$4" || failed=1
  rm -r "$1"
}

# Leaks are looked for in `threads` only: the tests keep path names to the end of their
# process, and the search needs ptrace for itself, which others of them use.
asan() {
  export UBSAN_OPTIONS="log_path=$reports/ubsan:print_stacktrace=1"
  export ASAN_OPTIONS="log_path=$reports/asan:quarantine_size_mb=16"
  threads "$memory/threads" 1 "${THREAD_SECONDS:-4}" "$SPM_SEED"
  threads "$disk/threads" 0 "${THREAD_SECONDS:-4}" "$SPM_SEED"
  ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0"
  # shellcheck disable=SC2086
  suites '' $quick
  # shellcheck disable=SC2086
  [ "$length" = short ] || suites '' $slow
}

tsan() {
  export TSAN_OPTIONS="log_path=$reports/tsan:history_size=7"
  seconds=${THREAD_SECONDS:-$([ "$length" = full ] && echo 60 || echo 8)}
  for seed in 1 "$SPM_SEED"; do
    threads "$memory/threads" 1 "$seconds" "$seed"
    threads "$disk/threads" 0 "$seconds" "$seed"
  done
  # SQLite's own order of locks is not ours to judge, and the suites go through it.
  TSAN_OPTIONS="$TSAN_OPTIONS:detect_deadlocks=0"
  # shellcheck disable=SC2086
  suites '' $sharing
  # shellcheck disable=SC2086
  [ "$length" = short ] || suites '' $concurrent
}

# What the tests fork is looked at as well, what they execute is not.
valgrind_suites() {
  suites "valgrind -q --error-exitcode=9 --log-file=$reports/valgrind.%p" "$@"
}

memcheck() {
  if [ "$length" = full ]; then
    # shellcheck disable=SC2086
    valgrind_suites $quick
  else
    valgrind_suites format log kv:format kv:node kv:space kv:tree
  fi
}

case $tool in
  asan | tsan) $tool ;;
  valgrind) memcheck ;;
  *) echo "run.sh: no tool is called $tool" >&2; exit 2 ;;
esac
for report in "$reports"/*; do
  [ -s "$report" ] || continue
  failed=1
  head -n 60 "$report"
done
[ "$failed" = 0 ] || { echo "FAILED: $tool"; exit 1; }
echo "$tool: no report"
