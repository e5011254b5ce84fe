// SPDX-License-Identifier: Apache-2.0
// Which bytes of a chunk hold its result already, while the others hold a rank's input still: after a shard was lost in
// the middle of a sum. In order, and apart from each other.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <vector>

namespace tutti::ps {

struct ByteRange {
  std::uint64_t begin = 0, end = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(begin, end);
  }
  bool operator==(const ByteRange&) const = default;
};
using ByteRanges = std::vector<ByteRange>;

/// Ranges that touch or overlap become one.
void add(ByteRanges& ranges, ByteRange more);
bool contains(const ByteRanges& ranges, std::uint64_t offset) noexcept;
/// None is empty, they are in order, apart from each other and within [0, bytes), and begin and end at multiples of
/// `unit` (or at the very end).
bool are_within(const ByteRanges& ranges, std::uint64_t bytes, std::uint64_t unit) noexcept;

}  // namespace tutti::ps
