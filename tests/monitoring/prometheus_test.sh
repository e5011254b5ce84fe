#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prometheus scrapes a run that goes through a slow worker and the loss of one, and answers what rules and dashboards ask.
# Where it cannot be had the test is skipped.
#
#   prometheus_test.sh TUTTI PROGRAM [ARGUMENT...]     the program trains until it is stopped and logs its loss
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"
source tests/support/prometheus.sh

(($# >= 2)) || fail 64 "usage: prometheus_test.sh TUTTI PROGRAM [ARGUMENT...]"
make_prometheus
make_mnist_data || fail 77 "SKIPPED: there is no data for mnist: the lines above say why"
PYTHONDONTWRITEBYTECODE=1 exec python3 tests/monitoring/prometheus_test.py "$prometheus_bin" "$@"
