#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Has libFuzzer make up inputs for the fuzz targets, each for so many seconds and with 256 MiB of memory, beginning with
# its corpus. Ends with 1 when a target broke a promise; the input lies then in build/fuzz/found.
#
#   tests/fuzz/run.sh [SECONDS [TARGET...]]     60 seconds and every target where nothing else is said
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"

readonly seconds=${1:-60} corpus=tests/fuzz/corpus found=build/fuzz/found
targets=("${@:2}")
((${#targets[@]} > 0)) || mapfile -t targets < <(ls "$corpus")
[[ $seconds =~ ^[0-9]+$ ]] || fail 64 "expected a number of seconds, found '$seconds'"
for target in "${targets[@]}"; do
  [[ -d $corpus/$target ]] || fail 64 "unknown target '$target'; known are $(ls -x "$corpus")"
done

# The newest clang++ in PATH. g++ has no libFuzzer, and an older clang++ lacks what the sources use of C++20.
CXX=$(compgen -c clang++ | grep --extended-regexp '^clang\+\+(-[0-9]+)?$' | sort --version-sort | tail -1) || true
[[ -n $CXX && $("$CXX" -dumpversion) =~ ^([0-9]+) && ${BASH_REMATCH[1]} -ge 16 ]] ||
  fail 69 "clang++ 16 or newer was not found: apt-get install clang-16"
export CXX

# What was freed waits in quarantine for late readers; the limit is for what is in use.
export ASAN_OPTIONS=quarantine_size_mb=16

# fuzz TARGET: libFuzzer's own words go to a file, of which the last figures are shown, or the end when it failed.
fuzz() {
  local target=$1 log=build/fuzz/$1.log status=0
  # What it finds new stays in the build folder: the corpus in the tree is kept small by hand.
  mkdir -p "build/fuzz/corpus/$target" || return
  "build/fuzz/bin/fuzz_$target" -max_total_time="$seconds" -rss_limit_mb=256 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$found/$target-" "build/fuzz/corpus/$target" "$corpus/$target" &>"$log" || status=$?
  if ((status == 0)); then
    grep --extended-regexp 'stat::(number_of_executed_units|peak_rss_mb)' "$log"
  else
    tail --lines=40 "$log"
  fi
  return "$status"
}

phase build build fuzz fuzz_targets
mkdir -p "$found"
status=0
for target in "${targets[@]}"; do
  phase "$target" fuzz "$target" || status=1
done
exit "$status"
