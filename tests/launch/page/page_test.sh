#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs one of this folder's tests in a browser. Where that, selenium or the data of mnist cannot be had, it is skipped.
#
#   page_test.sh page_fake_test.py|report_page_test.py [FOLDER_FOR_SCREENSHOTS]
#   page_test.sh page_live_test.py [--shots FOLDER] TUTTI MNIST [ARGUMENT...]
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch/functions.sh"
source "$root/tests/support/browser.sh"

readonly skipped=77

(($# >= 1)) || fail 64 "usage: page_test.sh TEST.py [ARGUMENT...]"
have_browser || fail $skipped "SKIPPED: there is no browser: the lines above say why"
# shellcheck disable=SC2119  # no package besides
have_selenium ||
  fail $skipped "SKIPPED: selenium could not be installed into $root/$browser_python: the lines above say why"
if [[ $1 == page_live_test.py ]]; then
  make_mnist_data || fail $skipped "SKIPPED: there is no data for mnist: the lines above say why"
fi

PYTHONDONTWRITEBYTECODE=1 exec "$browser_python/bin/python3" "tests/launch/page/$1" "${@:2}"
