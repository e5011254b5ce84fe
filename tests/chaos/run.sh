#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of the table of faults (docs/fault_tolerance.md), all rows or those that are named, and prints the table: each row's
# target, what was measured, and what it misses. Ends with 1 when a test failed.
#
#   tests/chaos/run.sh [--short] [ROW...]     --short: without the tests that are long
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"
[[ -x build/release/bin/chaos_test ]] || fail 69 "build/release/bin/chaos_test is not there: cmake --preset release && cmake --build build/release"
exec python3 tests/chaos/rows.py "$@"
