#!/bin/bash
# Run what reaches the engine, then compare what it did not reach with unreached.txt.
#
#   SPM_COVERAGE_ONLY=report   compare only, with what earlier runs have left
#   SPM_COVERAGE_SKIP=         also the tests that kill a process at every one of its steps: an hour
#   SPM_FAULT_THIN=N           every N-th of the injected faults
set -euo pipefail
cd "$(dirname "$0")/../.."
export BUILD=$COVERAGE
log=$COVERAGE/run.log

# In a build that is several times slower, what a test says of time or memory means nothing:
# a failure here is told, and its lines count all the same.
reach() {
  name=$1
  shift
  "$@" >"$log" 2>&1 || { echo "$name did not pass here:"; grep -aE 'FAILED|:[EF]:' "$log" | head -5 || true; }
}

if [ "${SPM_COVERAGE_ONLY:-}" != report ]; then
  find "$COVERAGE" -name '*.gcda' -delete
  echo "running the check program, the injected faults and the hostile surroundings ..."
  reach 'the check program' env CK_TIMEOUT_MULTIPLIER=10 CK_EXCLUDE_TAGS="${SPM_COVERAGE_SKIP-every-step}" ./tests/run.sh
  reach 'the faults' env SPM_FAULT_THIN="${SPM_FAULT_THIN:-13}" ./tests/faults/run.sh
  reach 'hostile surroundings' ./tests/hostile/run.sh
fi
lcov --quiet --capture --directory "$COVERAGE" --base-directory "$PWD" --no-external --output-file "$COVERAGE/all.info" 2>"$log"
python3 tests/coverage/check.py "$COVERAGE/all.info" tests/coverage/unreached.txt
