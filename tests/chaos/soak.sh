#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains for so many minutes while workers and shards are killed at random, with a mean gap of ten seconds; says how many were
# killed, whether the final parameters are those of an undisturbed run, and what the processes use at the start and at the end.
#
#   tests/chaos/soak.sh MINUTES [--exchange ps|shm] [--seed N]
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"
[[ $# -ge 1 ]] || fail 64 "usage: tests/chaos/soak.sh MINUTES [--exchange ps|shm] [--seed N]"
[[ -x build/release/bin/chaos_soak ]] || fail 69 "build/release/bin/chaos_soak is not there: cmake --preset release && cmake --build build/release"
exec build/release/bin/chaos_soak "$@"
