// SPDX-License-Identifier: Apache-2.0
// float32 to bfloat16 or float16 and back, many at once: the bits of half.h at the speed of memory.
// Thread safety: functions without state.
#pragma once

#include <cstdint>
#include <span>

#include "common/dtype.h"

namespace tutti::ps {

/// Rounds to nearest even. REQUIRES: `dtype` is kBFloat16 or kFloat16; the spans are of one length and do not overlap.
void narrow(DType dtype, std::span<const float> from, std::span<std::uint16_t> into);

/// Exact. REQUIRES: as narrow().
void widen(DType dtype, std::span<const std::uint16_t> from, std::span<float> into);

}  // namespace tutti::ps
