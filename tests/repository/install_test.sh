#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs a build folder to a place of its own, then configures, builds and runs a program against it, outside the tree.
#
#   install_test.sh BUILD_FOLDER PROGRAM.cpp
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$1
program=$2

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -r "$here/consumer" "$program" "$place"

cmake --install "$build" --prefix "$place/tutti"
"$place/tutti/bin/tutti" --help >/dev/null
[[ -f $place/tutti/share/tutti/monitoring/prometheus/tutti.rules.yml ]]
cmake -S "$place/consumer" -B "$place/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$place/tutti" -DPROGRAM="$place/$(basename "$program")"
cmake --build "$place/build"
cd "$place"
build/consumer
