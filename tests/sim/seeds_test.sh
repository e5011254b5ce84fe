#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The worlds of the seeds that once failed (tests/sim/seeds), then those of the range. A failing seed is printed with the
# commit that it fails at.
#
#   seeds_test.sh PROGRAM FROM:TO
set -euo pipefail

readonly program=$1 range=$2
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mapfile -t kept < <(grep --only-matching '^[0-9]\+' "$folder/seeds")
if ! "$program" --jobs 2 "${kept[@]}" "$range"; then
  echo "at commit $(git -C "$folder" rev-parse --short HEAD 2>/dev/null || echo 'unknown')"
  echo "see what happens: $program --tell SEED; keep the seed in tests/sim/seeds"
  exit 1
fi
