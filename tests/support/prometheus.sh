# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Prometheus and promtool for tests, from Debian's package. It is unpacked and not installed: no service starts, and nothing
# outside .cache changes. To be sourced after launch/functions.sh.

readonly prometheus_bin=.cache/prometheus/usr/bin

# Unpacked aside and put into place by one rename: an interrupted test leaves nothing half.
unpack_prometheus() {
  [[ ! -x $prometheus_bin/promtool ]] || return 0
  local aside=.cache/prometheus.aside
  rm -rf "$aside" .cache/prometheus
  mkdir -p "$aside/package"
  (cd "$aside" && apt-get download --quiet=2 -o APT::Sandbox::User="$(id --user --name)" prometheus) &&
    dpkg-deb --extract "$aside"/prometheus_*.deb "$aside/package" &&
    mv "$aside/package" .cache/prometheus &&
    rm -rf "$aside"
}

# make_prometheus: leaves the two programs in $prometheus_bin, or ends the test as skipped.
make_prometheus() {
  local lock
  mkdir -p .cache
  exec {lock}>.cache/prometheus.lock
  flock "$lock"
  unpack_prometheus || fail 77 "SKIPPED: Prometheus could not be unpacked into .cache/prometheus: the lines above say why"
  exec {lock}>&-
}
