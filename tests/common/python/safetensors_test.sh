#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python package `safetensors` reads what tutti writes. The package and NumPy are installed into .cache/safetensors once; where they
# cannot be had the test is skipped.
#
#   safetensors_test.sh WRITE_SAMPLE
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch/functions.sh"

readonly place=.cache/safetensors
readonly skipped=77

make_environment() {
  [[ ! -f $place/is-here ]] || return 0
  rm -rf "$place/venv"
  python3 -m venv "$place/venv" &&
    "$place/venv/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary=:all: safetensors==0.8.0 numpy &&
    touch "$place/is-here"
}

(($# == 1)) || fail 64 "usage: safetensors_test.sh WRITE_SAMPLE"
mkdir -p "$place"
exec 9>"$place/lock"
flock 9
make_environment || fail $skipped "SKIPPED: safetensors and NumPy could not be installed into $root/$place: the lines above say why"

folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
"$1" "$folder"
"$place/venv/bin/python3" "$root/tests/common/python/read_sample.py" "$folder"
