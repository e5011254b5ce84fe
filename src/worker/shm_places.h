// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a bucket lie in the segment of a host: for each rank in its own bucket, or, for a range that has a
// spare, where that rank's table says. Thread safety: one thread of each process.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "common/host_layout.h"
#include "common/segment.h"
#include "worker/exchange.h"

namespace tutti::worker {

class ShmPlaces {
 public:
  /// `rank`: this process', whose ranges lie in their buckets at first. `ranges` are ordered by bucket and offset.
  ShmPlaces(std::shared_ptr<Segment> segment, HostLayout layout, std::uint32_t ranks, std::uint32_t rank,
            const std::vector<BucketRange>& ranges);

  /// This rank's range lies there from now on.
  void lies_at(std::uint32_t range, std::byte* where);
  /// Cuts `of` the bucket where ranges begin and end: f(offset in the bucket, bytes, where each rank has them).
  template <class F>
  void for_each_part(std::uint32_t bucket, const BlockRange& of, F f) {
    std::uint64_t begin = of.offset;
    const std::uint64_t end = of.offset + of.bytes;
    while (begin < end) {
      const Range* const range = range_at_or_after(bucket, begin);
      const bool inside = range != nullptr && range->what.offset_bytes <= begin;
      std::uint64_t next = end;
      if (inside) next = std::min(end, range->what.offset_bytes + range->what.bytes);
      if (!inside && range != nullptr) next = std::min(end, range->what.offset_bytes);
      f(begin, next - begin, find(bucket, begin, inside ? range : nullptr));
      begin = next;
    }
  }
  void copy(std::uint32_t bucket, const BlockRange& of, std::uint32_t from, std::uint32_t to) {
    if (from == to) return;
    for_each_part(bucket, of, [&](std::uint64_t, std::uint64_t bytes, std::span<std::byte* const> places) {
      std::memcpy(places[to], places[from], bytes);
    });
  }
  void copy_to_all(std::uint32_t bucket, const BlockRange& of, std::uint32_t from) {
    for_each_part(bucket, of, [&](std::uint64_t, std::uint64_t bytes, std::span<std::byte* const> places) {
      for (std::byte* const place : places) {
        if (place != places[from]) std::memcpy(place, places[from], bytes);
      }
    });
  }
  /// Of a sum that lies apart, behind the last rank's buckets.
  std::byte* apart(std::uint32_t bucket, std::uint64_t offset) const {
    return at(layout_.offset(ranks_, bucket) + offset);
  }
  /// The word about a rank's input to a block.
  std::uint32_t& finding(std::uint32_t rank, std::uint32_t bucket, std::uint32_t block) const {
    return *reinterpret_cast<std::uint32_t*>(at(layout_.finding(rank, bucket, block)));
  }

 private:
  struct Range {
    BucketRange what;
    std::uint32_t number;
  };

  std::byte* at(std::uint64_t offset) const { return segment_->data().data() + offset; }
  const Range* range_at_or_after(std::uint32_t bucket, std::uint64_t offset) const;
  /// Where every rank has the element at `offset` of the bucket, which is in `range` or in none.
  std::span<std::byte* const> find(std::uint32_t bucket, std::uint64_t offset, const Range* range);
  /// Where the rank's ranges lie: written before it marks their bucket ready, read after that.
  std::uint64_t* table(std::uint32_t rank) const { return reinterpret_cast<std::uint64_t*>(at(layout_.table(rank))); }

  const std::shared_ptr<Segment> segment_;
  const HostLayout layout_;
  const std::uint32_t ranks_, rank_;
  std::vector<Range> ranges_;
  std::vector<std::byte*> places_;  // of the part in hand, by rank
};

}  // namespace tutti::worker
