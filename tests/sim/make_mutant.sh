#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the source that a patch is for, with the patch, to MUTANT. A patch that does not apply leaves its reason in
# MUTANT.rejected and the source as it is: the test then says so, and the rest of the build goes on.
#
#   make_mutant.sh PATCH SOURCE MUTANT
set -euo pipefail

readonly patch=$1 source=$2 mutant=$3
rm -f "$mutant.rejected"
cp "$source" "$mutant"
if ! reason=$(patch --batch --fuzz=0 --reject-file=- "$mutant" "$patch" 2>&1); then
  cp "$source" "$mutant"
  echo "$reason" >"$mutant.rejected"
fi
rm -f "$mutant.orig"
