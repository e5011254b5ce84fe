// SPDX-License-Identifier: Apache-2.0
// What a shard computes: the sum of all ranks' contributions in rank order. The first is copied, not added to zero (so
// -0.0 survives), then the others are added one after the other, then there is one division by the number of ranks.
// bfloat16 and float16 are added in float32 over all ranks and rounded once, at the end. The bits are those of the
// plain loop over elements.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <span>

#include "common/dtype.h"

namespace tutti::ps {

/// Integers and bool have no average; bool's sum is the logical or; anything can be broadcast.
bool can_reduce(DType dtype, Reduction reduction) noexcept;

/// Writes the reduction of `contributions`, in their order, to `into`. `into` may be the first contribution and must
/// not overlap another; all are `into.size()` bytes long and aligned for their elements. REQUIRES: can_reduce(dtype,
/// reduction), `reduction` is not kBroadcast, there is at least one contribution.
void reduce(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
            std::span<std::byte> into);

}  // namespace tutti::ps
