// SPDX-License-Identifier: Apache-2.0
// How often something took how long: counts by fixed bounds, so that those of many processes can be added.
// Thread safety: a value.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "common/clock.h"

namespace tutti {

struct Histogram {
  /// Seconds; the last count is of what took longer than all of them.
  static constexpr std::array kBounds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
                                         0.5,   1.0,   2.0,   5.0,  10.0, 30.0, 60.0};

  std::array<std::uint64_t, kBounds.size() + 1> counts{};
  Duration sum{};

  void add(Duration time) noexcept {
    const auto bound = std::ranges::lower_bound(kBounds, to_seconds(time));
    ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
    sum += time;
  }
  std::uint64_t count() const noexcept {
    std::uint64_t all = 0;
    for (const std::uint64_t some : counts) all += some;
    return all;
  }
};

}  // namespace tutti
