#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TensorBoard shows what runs log. It is installed into .cache/venv-tensorboard once; where it cannot be had the test is skipped.
#
#   tensorboard_test.sh TUTTI TEST_EXACTING MNIST
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch/functions.sh"

readonly place=.cache/venv-tensorboard
readonly skipped=77

make_environment() {
  [[ ! -f $place/is-here ]] || return 0
  rm -rf "$place"
  python3 -m venv "$place" &&
    "$place/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary=:all: tensorboard==2.21 &&
    touch "$place/is-here"
}

(($# == 3)) || fail 64 "usage: tensorboard_test.sh TUTTI TEST_EXACTING MNIST"
mkdir -p .cache
exec 9>.cache/venv-tensorboard.lock
flock 9
make_environment || fail $skipped "SKIPPED: TensorBoard could not be installed into $root/$place: the lines above say why"
make_mnist_data || fail $skipped "SKIPPED: there is no data for mnist: the lines above say why"
exec 9>&-

PYTHONDONTWRITEBYTECODE=1 exec "$place/bin/python3" tests/worker/tensorboard/tensorboard_test.py "$@"
