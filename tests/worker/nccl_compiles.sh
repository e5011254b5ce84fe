#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles the NCCL exchange, which nothing can run on a machine without a GPU. Exits with 77 (skipped) where CUDA's or NCCL's headers
# are missing.
#   nccl_compiles.sh COMPILER SOURCE_FOLDER TORCH_FOLDER
set -euo pipefail
compiler=$1 root=$2 torch=$3

find_header() {
  local header=$1 folder
  shift
  for folder in "$@"; do
    [[ -f $folder/$header ]] && echo "$folder" && return
  done
  echo "skipped: $header is not installed" >&2
  exit 77
}
cuda=$(find_header cusparse.h "${CUDA_HOME:-/usr/local/cuda}/include" /usr/include)
nccl=$(find_header nccl.h "$torch/../nvidia/nccl/include" "$cuda" /usr/include)

for source in exchange_nccl nccl_communicator; do
  "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -Wno-psabi -DFMT_HEADER_ONLY=1 -I"$root/include" -I"$root/src" \
    -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include" -isystem "$nccl" -isystem "$cuda" \
    "$root/src/worker/$source.cpp"
done
