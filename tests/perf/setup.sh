#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the peers of tests/perf into .cache/perf: a virtual environment with PyTorch and, where it can be built, Horovod over MPI, whose
# log stays beside it. Some gigabytes, some minutes; a second run finds everything in place. The peers in C++ need nothing of it.
source "$(dirname "${BASH_SOURCE[0]}")/../../launch/functions.sh"

readonly place=.cache/perf
readonly python=$place/venv/bin/python3
readonly horovod=horovod-0.28.1

make_environment() {
  [[ ! -f $place/venv/torch-is-here ]] || return 0
  rm -rf "$place/venv"
  python3 -m venv "$place/venv" || fail 69 "python3 -m venv failed: python3-venv is missing"
  "$python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 numpy wheel cloudpickle psutil pyyaml packaging cffi ||
    fail 69 "could not install PyTorch into $root/$place/venv: the lines above say why"
  touch "$place/venv/torch-is-here"
}

# Horovod's last release asks for C++14, LibTorch for C++20; and it is to be built without CUDA, even where a toolkit is.
patch_horovod() {
  sed -i 's/set(CMAKE_CXX_STANDARD 14)/set(CMAKE_CXX_STANDARD 20)/' CMakeLists.txt horovod/torch/CMakeLists.txt
  sed -i 's/(torch.version.cuda is not None) and (CUDA_HOME is not None)/False/' cmake/Modules/FindPytorch.cmake
}

build_horovod() {
  local folder=$root/$place/horovod
  rm -rf "$folder"
  mkdir -p "$folder"
  "$root/$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary=:all: --no-build-isolation --dest "$folder" \
    "${horovod/-/==}" || return
  tar --extract --gzip --file "$folder/$horovod.tar.gz" --directory "$folder" || return
  cd "$folder/$horovod" || return
  patch_horovod || return
  HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_MPI=1 HOROVOD_WITHOUT_GLOO=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 \
    HOROVOD_CPU_OPERATIONS=MPI MAKEFLAGS=-j$(build_jobs) \
    "$root/$python" -m pip install --disable-pip-version-check --no-build-isolation --no-deps --verbose .
}

make_horovod() {
  ! "$python" -c 'import horovod.torch' 2>/dev/null || return 0
  echo "building $horovod, log in $place/horovod.log"
  (build_horovod) >"$place/horovod.log" 2>&1 || true
  "$python" -c 'import horovod.torch' 2>>"$place/horovod.log" ||
    echo "SKIPPED: $horovod does not build here; the table will say so. $(grep --max-count=1 --ignore-case 'error' "$place/horovod.log")"
}

(($# == 0)) || fail 64 "found '$1'; usage: tests/perf/setup.sh"
mkdir -p "$place"
phase "PyTorch" make_environment
phase "Horovod" make_horovod
