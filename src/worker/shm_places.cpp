// SPDX-License-Identifier: Apache-2.0
#include "worker/shm_places.h"

#include <utility>

namespace tutti::worker {

ShmPlaces::ShmPlaces(std::shared_ptr<Segment> segment, HostLayout layout, std::uint32_t ranks, std::uint32_t rank,
                     const std::vector<BucketRange>& ranges)
    : segment_(std::move(segment)), layout_(std::move(layout)), ranks_(ranks), rank_(rank) {
  for (const BucketRange& range : ranges) {
    const auto number = static_cast<std::uint32_t>(ranges_.size());
    ranges_.push_back({range, number});
    table(rank_)[number] = layout_.offset(rank_, range.bucket) + range.offset_bytes;
  }
}

void ShmPlaces::lies_at(std::uint32_t range, std::byte* where) {
  table(rank_)[range] = static_cast<std::uint64_t>(where - segment_->data().data());
}

const ShmPlaces::Range* ShmPlaces::range_at_or_after(std::uint32_t bucket, std::uint64_t offset) const {
  const auto found = std::partition_point(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return range.what.bucket < bucket ||
           (range.what.bucket == bucket && range.what.offset_bytes + range.what.bytes <= offset);
  });
  return found != ranges_.end() && found->what.bucket == bucket ? &*found : nullptr;
}

std::span<std::byte* const> ShmPlaces::find(std::uint32_t bucket, std::uint64_t offset, const Range* range) {
  places_.clear();
  for (std::uint32_t rank = 0; rank < ranks_; ++rank) {
    const std::uint64_t where = range == nullptr ? layout_.offset(rank, bucket) + offset
                                                 : table(rank)[range->number] + (offset - range->what.offset_bytes);
    places_.push_back(at(where));
  }
  return places_;
}

}  // namespace tutti::worker
