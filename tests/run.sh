#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the presets release, asan and tsan, runs their tests and sums up. The last line is "N passed, N failed", with
# ", N skipped" where some were. Exits with 0 when something ran and nothing failed.
#
#   tests/run.sh [--all]     --all: also the long tests (soak, perf); writes tests/results/YYYY-MM-DD.md
source "$(dirname "${BASH_SOURCE[0]}")/../launch/functions.sh"

readonly results=build/results

# Tests never leave the loopback interface, and may be run by root in a container.
export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS=malloc_context_size=10 UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$root/tests/sanitizers/leaks.txt:print_suppressions=0
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$root/tests/sanitizers/threads.txt

# step NAME COMMAND...: a phase whose name, seconds and status are kept for the summary.
step() {
  local name=$1 begin=$SECONDS status=0
  shift
  phase "$name" "$@" || status=$?
  printf '%s\t%d\t%d\n' "$name" $((SECONDS - begin)) "$status" >>"$results/steps.tsv"
  return "$status"
}

# run_tests PRESET NAME CTEST_ARGUMENT...: the report goes to the results under NAME.
run_tests() {
  local preset=$1 name=$2
  shift 2
  ctest --test-dir "build/$preset" --parallel 2 --output-on-failure --output-junit "$root/$results/$name.xml" "$@"
}

check_preset() {
  step "build $1" build "$1" &&
    step "test $1" run_tests "$1" "$1" --label-exclude 'gpu|perf|soak' --no-tests=error
}

all=false
case ${1-} in
  '') ;;
  --all) all=true ;;
  *) fail 64 "unknown argument '$1'; usage: tests/run.sh [--all]" ;;
esac

rm -rf "$results"
mkdir -p "$results"
if ! step set-up launch/setup.sh; then
  echo "0 passed, 1 failed"
  exit 1
fi
# What fails from here on is in the summary; the rest is run all the same.
step data make_mnist_data || true
for preset in release asan tsan; do
  check_preset "$preset" || true
done
summary=()
if $all; then
  step "test release-long" run_tests release release-long --label-regex 'perf|soak' --label-exclude gpu || true
  summary=(--markdown "tests/results/$(date +%F).md")
fi
python3 tests/summarize.py "$results" ${summary[@]+"${summary[@]}"}
