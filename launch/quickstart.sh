#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh checkout to a trained model: installs what is missing, builds, makes the data, trains on it. Arguments are passed on.
#
#   launch/quickstart.sh [key=value ...]
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

phase set-up launch/setup.sh
phase build build release tutti mnist
phase data make_mnist_data
exec build/release/bin/tutti run configs/mnist.toml "$@"
