// SPDX-License-Identifier: Apache-2.0
// Sizes that are whole multiples of a unit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti {

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kCacheLineBytes = 64;

/// The least multiple of `unit` that is not below `bytes`.
constexpr std::uint64_t rounded_up(std::uint64_t bytes, std::uint64_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace tutti
