#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# promtool reads what monitoring/prometheus has, the target of the page in docs included, and plays every alert.
#
#   rules_test.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"
source tests/support/prometheus.sh

(($# == 0)) || fail 64 "usage: rules_test.sh"
make_prometheus
promtool=$root/$prometheus_bin/promtool

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -r monitoring/prometheus/. "$place"
mkdir -p "$place/runs"
sed -n '/^<!-- targets -->$/,/^```$/p' docs/monitoring.md | grep '^\[' >"$place/runs/mine.json" ||
  fail 1 "docs/monitoring.md shows no file of targets behind its mark <!-- targets -->"

"$promtool" check config "$place/prometheus.yml" | tee "$place/said"
! grep --quiet WARNING "$place/said" || fail 1 "promtool warns of prometheus.yml: the lines above say of what"
"$promtool" check rules --lint-fatal "$place/tutti.rules.yml"
"$promtool" test rules "$place/tutti.rules_test.yml"

# What the dashboards ask is PromQL, too.
PYTHONDONTWRITEBYTECODE=1 python3 tests/monitoring/monitoring.py >"$place/expressions.yml"
"$promtool" check rules --lint-fatal "$place/expressions.yml"
