// SPDX-License-Identifier: Apache-2.0
// Inputs of an all-reduce whose every result can be told in advance: rank r's element i is a_r h(i, round) + b_r, small
// whole numbers, so that sums are exact in any order. The a_r and b_r differ from rank to rank: a contribution that is
// missing, counted twice, of another place or of another round gives another number. Cheap to write and to check, so
// that every element of every round is. Thread safety: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/dtype.h"

namespace tutti::bench {

class Pattern {
 public:
  /// Beyond so many ranks float32 could not hold the sums.
  static constexpr int kRanksMax = 96;

  /// REQUIRES: 1 <= ranks <= kRanksMax.
  Pattern(int ranks, std::uint32_t round);

  void fill(std::span<float> values, int rank) const noexcept;
  /// The first element that is not the average (or sum) of the ranks' inputs. `tolerance` is relative; 0 where nothing
  /// is rounded.
  std::optional<std::size_t> first_wrong(std::span<const float> values, Reduction reduction,
                                         float tolerance) const noexcept;
  float expected(std::size_t index, Reduction reduction) const noexcept;

 private:
  const std::uint32_t offset_;
  const int ranks_;
  float factor_ = 0, constant_ = 0;  // of the sum over the ranks
};

}  // namespace tutti::bench
