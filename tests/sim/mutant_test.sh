#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A simulator with a bug in it is caught within 1,000 worlds.
#
#   mutant_test.sh PROGRAM MUTANT_SOURCE
set -euo pipefail

readonly program=$1 rejected=$2.rejected
if [[ -f $rejected ]]; then
  echo "the patch does not apply any more: make it anew from the present source"
  cat "$rejected"
  exit 1
fi
# A bug that makes a world go on without an end is caught, too, but would be one that no check sees.
if timeout 200 "$program" --jobs 2 --first 0:1000; then
  echo "1,000 worlds did not notice the bug"
  exit 1
else
  status=$?
fi
if ((status == 124)); then
  echo "1,000 worlds came to no end"
  exit 1
fi
