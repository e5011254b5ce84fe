# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For tests that look at a page as its user does: a browser, and the Python side that drives it. To be sourced after
# launch/functions.sh, which leaves the shell in the repository's root.

readonly browser_python=.cache/venv-browser

# have_browser: finds chromium and chromedriver, or installs Debian's where it may. Fails, after a line that says why, where they
# cannot be had.
have_browser() {
  ! { command -v chromium && command -v chromedriver; } >/dev/null || return 0
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "chromium or chromedriver was not found: apt-get install chromium chromium-driver" >&2
    return 1
  fi
  mkdir -p .cache
  {
    flock 8
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    apt-get update --quiet=2 &&
      apt-get install --quiet=2 --yes --no-install-recommends --no-remove chromium chromium-driver
  } 8>.cache/browser.lock >&2 && command -v chromium >/dev/null && command -v chromedriver >/dev/null
}

# have_selenium [PACKAGE==VERSION...]: makes $browser_python with selenium and the packages, as far as they are not there yet.
# Fails, after pip's own lines, where they cannot be had.
have_selenium() {
  local package
  local -a missing=()
  mkdir -p .cache
  {
    flock 8
    [[ -f $browser_python/is-here ]] || {
      rm -rf "$browser_python"
      python3 -m venv "$browser_python" && touch "$browser_python/is-here"
    } || return
    for package in selenium==4.51.0 "$@"; do
      [[ -f $browser_python/has-$package ]] || missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    "$browser_python/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary=:all: "${missing[@]}" || return
    for package in "${missing[@]}"; do touch "$browser_python/has-$package"; done
  } 8>.cache/venv-browser.lock >&2
}
