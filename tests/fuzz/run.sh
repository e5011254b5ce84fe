#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Has libFuzzer make up inputs for the fuzz targets, each for so many seconds and with 256 MiB of memory, beginning with
# its corpus. Ends with 1 when a target broke a promise; the input lies then in build/fuzz/found.
#
#   tests/fuzz/run.sh [SECONDS [TARGET...]]     60 seconds and every target where nothing else is said
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"

readonly seconds=${1:-60} found=build/fuzz/found
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || mapfile -t targets < <(basename --multiple tests/fuzz/corpus/*)
[[ $seconds =~ ^[0-9]+$ ]] || fail 64 "expected a number of seconds, found '$seconds'"
for target in "${targets[@]}"; do
  [[ -d tests/fuzz/corpus/$target ]] || fail 64 "there is no target '$target'; there are $(basename --multiple tests/fuzz/corpus/* | xargs)"
done

# g++ has no libFuzzer, and older clang++ lacks what the sources use of C++20.
CXX=$(compgen -c clang++ | grep --extended-regexp '^clang\+\+(-[0-9]+)?$' | sort --version-sort | tail -1) || true
[[ -n $CXX && $("$CXX" -dumpversion) =~ ^([0-9]+) && ${BASH_REMATCH[1]} -ge 16 ]] ||
  fail 69 "clang++ 16 or newer was not found: apt-get install clang-16"
export CXX
build fuzz fuzz_targets >build/fuzz.log 2>&1 || { tail -30 build/fuzz.log >&2 && exit 1; }

# What is found new goes to a copy: the corpus in the tree is kept small by hand.
mkdir -p "$found"
status=0
for target in "${targets[@]}"; do
  mkdir -p "build/fuzz/corpus/$target"
  phase "$target" "build/fuzz/bin/fuzz_$target" -max_total_time="$seconds" -rss_limit_mb=256 -timeout=10 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$found/$target-" "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" || status=1
done
exit "$status"
