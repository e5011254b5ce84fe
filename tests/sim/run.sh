#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Simulates more worlds than the tests do: 1,000 where nothing else is said, 100,000 in a night.
#
#   tests/sim/run.sh [--seeds FROM:TO]
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"

seeds=0:1000
case ${1-} in
  '') ;;
  --seeds) seeds=${2-} ;;
  *) fail 64 "unknown argument '$1'; usage: tests/sim/run.sh [--seeds FROM:TO]" ;;
esac
[[ $seeds =~ ^[0-9]+:[0-9]+$ ]] || fail 64 "expected FROM:TO, found '$seeds'"

phase build build release tutti_sim
phase "seeds $seeds" tests/sim/seeds_test.sh build/release/bin/tutti_sim "$seeds"
