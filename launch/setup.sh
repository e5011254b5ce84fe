#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing to build and test tutti on Debian 12: packages through apt, LibTorch from its Python wheel into .deps/.
# A second run finds everything in place and ends at once.
#
#   launch/setup.sh [--cuda]     --cuda: also the NCCL that LibTorch's CUDA half needs
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

packages=(
  g++ cmake ninja-build mold
  libboost1.81-dev libcereal-dev libcli11-dev libtomlplusplus-dev libspdlog-dev libfmt-dev libssl-dev prometheus-cpp-dev
  libopenmpi-dev openmpi-bin libgloo-dev iproute2
  libgtest-dev libgmock-dev
)
wheels=(torch==2.15.0)

missing_packages() {
  local installed package
  installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
  for package in "${packages[@]}"; do
    grep --quiet --line-regexp --fixed-strings "$package installed" <<<"$installed" || echo "$package"
  done
  command -v python3 >/dev/null || echo python3
  python3 -c 'import pip' 2>/dev/null || echo python3-pip
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  local install=(apt-get install --yes --no-install-recommends --no-remove "${missing[@]}")
  if ((EUID != 0)) && ! sudo --non-interactive true 2>/dev/null; then
    fail 69 "packages are missing and this is not root; run
apt-get install ${missing[*]}"
  fi
  echo "installing ${missing[*]}"
  as_root apt-get update --quiet=2 || fail 69 "apt-get update failed: the lines above say why"
  as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}" --quiet=2 >/dev/null ||
    fail 69 "'${install[*]}' failed (libboost1.81-dev conflicts with libboost-dev): the lines above say why"
}

# The wheels that are needed, one a line. libtorch_cpu.so asks for two libraries of CUDA's, also on a machine without a GPU.
needed_wheels() {
  local libraries
  libraries=$(/sbin/ldconfig -p)
  printf '%s\n' "${wheels[@]}"
  grep --quiet 'libcudart\.so\.13 ' <<<"$libraries" || echo nvidia-cuda-runtime==13.5.37
  grep --quiet 'libcupti\.so\.13 ' <<<"$libraries" || echo nvidia-cuda-cupti==13.5.25
}

# An unpacked wheel leaves a folder that is named after its version, which serves as the stamp.
is_unpacked() {
  local name=${1%%==*} version=${1##*==}
  [[ -f .deps/${name//-/_}-$version.dist-info/RECORD ]]
}

# Everything is unpacked aside and put into place by one rename: an interrupted run leaves nothing half.
install_wheels() {
  local needed requirement wheel complete=true
  mapfile -t needed < <(needed_wheels)
  for requirement in "${needed[@]}"; do
    is_unpacked "$requirement" || complete=false
  done
  ! $complete || return 0

  local aside=.cache/deps
  rm -rf "$aside"
  mkdir -p "$aside"
  for requirement in "${needed[@]}"; do
    echo "downloading $requirement"
    wheel=$(fetch_wheel "$requirement")
    python3 -m zipfile --extract "$wheel" "$aside" ||
      fail 74 "could not unpack $wheel into $root/$aside ($(df --human-readable --output=avail . | tail -1 | tr -d ' ') free)"
  done
  rm -rf .deps
  mv "$aside" .deps
  rm -rf .cache/wheels
}

case ${1-} in
  '') ;;
  --cuda) wheels+=(nvidia-nccl-cu13==2.30.7) ;;
  *) fail 64 "unknown argument '$1'; usage: setup.sh [--cuda]" ;;
esac
mkdir -p .cache
exec 9>.cache/setup.lock
flock 9
if command -v dpkg-query >/dev/null; then
  install_packages
else
  echo "this is not Debian: the packages ${packages[*]} are taken to be here under other names"
fi
install_wheels
