// SPDX-License-Identifier: Apache-2.0
// What a shard and the ranks of one host compute: the sum of all ranks' contributions in rank order. The first is
// copied, not added to zero (so -0.0 survives), then the others are added one after the other, then there is one
// division by the number of ranks. bfloat16 and float16 are added in float32 over all ranks and rounded once, at the
// end. The bits are those of the plain loop over elements; the speed is that of memory.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <span>

#include "common/dtype.h"
#include "common/result.h"

namespace tutti::ps {

/// Integers and bool have no average; bool's sum is the logical or; anything can be broadcast.
bool can_reduce(DType dtype, Reduction reduction) noexcept;
/// kUsage, naming the dtype, for a bucket that cannot be reduced.
Result<> check_reducible(std::span<const BucketSpec> buckets);

/// Writes the reduction of `contributions`, in their order, to every place of `into`: an all-reduce is in place where
/// both hold the same addresses. All are `bytes` long and aligned for their elements; a place may be a contribution and
/// must not overlap one otherwise. Each contribution is read once, each place written once. REQUIRES: can_reduce(dtype,
/// reduction), `reduction` is not kBroadcast, there is at least one contribution and one
/// place.
void reduce_to_all(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                   std::span<std::byte* const> into, std::size_t bytes);

/// The same into one place.
void reduce(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
            std::span<std::byte> into);

/// The same, but stops in front of a sum that is not finite. Returns the elements that are summed: all of them, or
/// those before; from there on the places are as they were, so that the contributions still tell whose it is.
std::size_t reduce_to_all_while_finite(DType dtype, Reduction reduction,
                                       std::span<const std::byte* const> contributions,
                                       std::span<std::byte* const> into, std::size_t bytes);

/// The same into one place.
std::size_t reduce_while_finite(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                                std::span<std::byte> into);

/// Divides each element, where it lies: true division, and one rounding of 16-bit elements. So a sum that was made
/// elsewhere becomes an average. REQUIRES: is_floating(dtype), `by` is 1 or more.
void divide(DType dtype, std::span<std::byte> elements, std::size_t by) noexcept;

}  // namespace tutti::ps
