// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/host_memory.h"

#include "common/host_layout.h"
#include "ps/chunk_plan.h"

namespace tutti::sim {

ps::HostPlaces HostMemory::places(const ps::Placement& placement, const ps::ObjectTable& table) {
  const HostLayout layout(table.buckets, static_cast<std::uint32_t>(placement.local_size));
  const ps::ChunkPlan plan(table.buckets, table.chunk_bytes);
  const ps::ChunkJournal::Layout journal{layout.data_bytes(), plan.chunks().size(), table.shards};
  if (!segment_) {
    const SegmentShape shape{layout.ranks(), 0, journal.blocks(), layout.data_bytes() + journal.data_bytes()};
    segment_ = std::make_shared<Segment>(Segment::create(shape, 1).value());
  }
  ps::HostPlaces places;
  for (std::uint32_t bucket = 0; bucket < table.buckets.size(); ++bucket) {
    const std::uint64_t offset = layout.offset(static_cast<std::uint32_t>(placement.local_rank), bucket);
    places.buckets.emplace_back(segment_, segment_->data().data() + offset);
  }
  places.journal.emplace(segment_, journal);
  return places;
}

}  // namespace tutti::sim
