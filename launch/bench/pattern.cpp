// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/pattern.h"

#include <algorithm>
#include <cmath>

#include "common/assert.h"

namespace tutti::bench {
namespace {

constexpr std::uint32_t kRoundStride = 7919;    // prime: no round looks like a shift of its neighbours by a chunk
constexpr std::uint32_t kGolden = 2654435761u;  // Knuth's multiplicative hash
constexpr int kHashShift = 22;                  // leaves ten bits

float factor_of(int rank) noexcept {
  return static_cast<float>(2 * rank + 1);
}
// Squares: no two pairs of ranks have the same sum of both factors and constants.
float constant_of(int rank) noexcept {
  return static_cast<float>(rank * rank);
}

float hash(std::uint32_t at) noexcept {
  return static_cast<float>(static_cast<std::int32_t>((at * kGolden) >> kHashShift));
}

}  // namespace

Pattern::Pattern(int ranks, std::uint32_t round) : offset_(round * kRoundStride), ranks_(ranks) {
  TUTTI_ASSERT(ranks >= 1 && ranks <= kRanksMax, "the sums are to be exact in float32");
  for (int rank = 0; rank < ranks; ++rank) {
    factor_ += factor_of(rank);
    constant_ += constant_of(rank);
  }
}

void Pattern::fill(std::span<float> values, int rank) const noexcept {
  const float factor = factor_of(rank), constant = constant_of(rank);
  const auto size = static_cast<std::uint32_t>(values.size());
  for (std::uint32_t i = 0; i < size; ++i) values[i] = factor * hash(i + offset_) + constant;
}

std::optional<std::size_t> Pattern::first_wrong(std::span<const float> values, Reduction reduction,
                                                float tolerance) const noexcept {
  const float divisor = reduction == Reduction::kAverage ? static_cast<float>(ranks_) : 1.0f;
  constexpr std::size_t kBlock = 4096;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, values.size());
    int wrong = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const float right = (factor_ * hash(static_cast<std::uint32_t>(i) + offset_) + constant_) / divisor;
      // Written so that a NaN is wrong.
      wrong |= !(std::fabs(values[i] - right) <= tolerance * right);
    }
    if (wrong == 0) continue;
    for (std::size_t i = begin; i < end; ++i) {
      const float right = expected(i, reduction);
      if (!(std::fabs(values[i] - right) <= tolerance * right)) return i;
    }
  }
  return std::nullopt;
}

float Pattern::expected(std::size_t index, Reduction reduction) const noexcept {
  const float divisor = reduction == Reduction::kAverage ? static_cast<float>(ranks_) : 1.0f;
  return (factor_ * hash(static_cast<std::uint32_t>(index) + offset_) + constant_) / divisor;
}

}  // namespace tutti::bench
