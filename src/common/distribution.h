// SPDX-License-Identifier: Apache-2.0
// What a lot of numbers looks like: how many of them lie where.
// Thread safety: a value.
#pragma once

#include <cstdint>
#include <vector>

namespace tutti {

/// Of the finite numbers; the others are only counted.
struct Distribution {
  std::uint64_t finite = 0, not_finite = 0;
  double min = 0, max = 0, sum = 0, sum_squares = 0;
  /// Ascending. Bucket i holds the numbers from limits[i - 1] (`min`) to below limits[i]; the last limit is `max`, and
  /// belongs to its bucket.
  std::vector<double> limits = {};
  std::vector<std::uint64_t> counts = {};
};

}  // namespace tutti
