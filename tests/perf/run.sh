#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures tutti against its peers, in turns, on this machine, and writes the tables and the plot of docs/benchmarks.md. Wants the
# machine for itself, a quarter of an hour for all groups, root for the group hosts (network namespaces; left out without).
#
#   tests/perf/run.sh [allreduce|step|exposed|pushpull|guards|hosts ...] [--turns N] [--rounds N] [--exchange X] [--write FOLDER]
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"

for argument in "$@"; do
  [[ $argument != --help ]] || exec python3 tests/perf/benchmarks.py --help
done
launch/setup.sh
tests/perf/setup.sh
phase "build" build release tutti tutti-bench perf_peers
PYTHONDONTWRITEBYTECODE=1 phase "measure" python3 tests/perf/benchmarks.py "$@"
