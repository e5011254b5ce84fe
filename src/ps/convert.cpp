// SPDX-License-Identifier: Apache-2.0
#include "ps/convert.h"

#include "common/assert.h"
#include "ps/kernels.h"

namespace tutti::ps {
namespace {

bool is_half(DType dtype) {
  return dtype == DType::kBFloat16 || dtype == DType::kFloat16;
}

}  // namespace

void narrow(DType dtype, std::span<const float> from, std::span<std::uint16_t> into) {
  TUTTI_ASSERT(is_half(dtype) && from.size() == into.size(), "as many 16-bit numbers as there are numbers");
  const Kernels& best = kernels();
  const auto loop = dtype == DType::kBFloat16 ? best.narrow_to_bfloat16 : best.narrow_to_float16;
  loop(from.data(), into.data(), from.size());
}

void widen(DType dtype, std::span<const std::uint16_t> from, std::span<float> into) {
  TUTTI_ASSERT(is_half(dtype) && from.size() == into.size(), "as many numbers as there are 16-bit numbers");
  const Kernels& best = kernels();
  const auto loop = dtype == DType::kBFloat16 ? best.widen_from_bfloat16 : best.widen_from_float16;
  loop(from.data(), into.data(), from.size());
}

}  // namespace tutti::ps
