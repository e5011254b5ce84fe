#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A second quickstart, from another folder and without a network, finds everything in place, trains, and says so in its `done:` line.
#
#   quickstart_test.sh ROOT
set -euo pipefail
root=$1

output=$(mktemp)
trap 'rm -f "$output"' EXIT
cd /
PIP_NO_INDEX=1 "$root/launch/quickstart.sh" | tee "$output"

expect() {
  grep --quiet --extended-regexp "$1" <<<"$2" || { echo "expected $1, found: $2" >&2; exit 1; }
}
for phase in set-up build data; do
  expect "^== $phase: [0-9]+ s$" "$(grep "^== $phase:" "$output" || true)"
done
expect '^done: ' "$(grep '^done: ' "$output" || true)"
