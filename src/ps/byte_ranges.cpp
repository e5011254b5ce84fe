// SPDX-License-Identifier: Apache-2.0
#include "ps/byte_ranges.h"

#include <algorithm>

namespace tutti::ps {

void add(ByteRanges& ranges, ByteRange more) {
  if (more.begin >= more.end) return;
  const auto first = std::ranges::find_if(ranges, [&](const ByteRange& one) { return one.end >= more.begin; });
  auto last = first;
  for (; last != ranges.end() && last->begin <= more.end; ++last) {
    more.begin = std::min(more.begin, last->begin);
    more.end = std::max(more.end, last->end);
  }
  ranges.insert(ranges.erase(first, last), more);
}

bool contains(const ByteRanges& ranges, std::uint64_t offset) noexcept {
  return std::ranges::any_of(ranges, [&](const ByteRange& one) { return offset >= one.begin && offset < one.end; });
}

bool are_within(const ByteRanges& ranges, std::uint64_t bytes, std::uint64_t unit) noexcept {
  std::uint64_t from = 0;
  for (const ByteRange& one : ranges) {
    const bool is_apart = &one == &ranges.front() || one.begin > from;
    const bool is_cut_right = one.begin % unit == 0 && (one.end % unit == 0 || one.end == bytes);
    if (!is_apart || !is_cut_right || one.begin >= one.end || one.end > bytes) return false;
    from = one.end;
  }
  return true;
}

}  // namespace tutti::ps
