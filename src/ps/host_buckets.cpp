// SPDX-License-Identifier: Apache-2.0
#include "ps/host_buckets.h"

#include <fmt/format.h>

#include <string>

#include "common/bounded_archive.h"
#include "common/crc32c.h"
#include "common/host_layout.h"
#include "common/host_memory.h"
#include "ps/chunk_plan.h"

namespace tutti::ps {

namespace {

constexpr std::int32_t kLocalRanksMax = 4096;
constexpr std::size_t kKeeperNameMax = 100;

std::uint64_t hash_of(std::span<const BucketSpec> buckets) {
  const std::string bytes = encode(std::vector<BucketSpec>(buckets.begin(), buckets.end()));
  return crc32c(std::as_bytes(std::span(bytes)));
}

}  // namespace

Result<> check(const Placement& placement) {
  const bool is_rank = placement.local_size >= 1 && placement.local_size <= kLocalRanksMax &&
                       placement.local_rank >= 0 && placement.local_rank < placement.local_size;
  if (!is_rank) {
    return fail(Errc::kProtocol,
                fmt::format("local rank {} of {} on a host", placement.local_rank, placement.local_size));
  }
  if (placement.keeper.size() > kKeeperNameMax) return fail(Errc::kProtocol, "a keeper with too long a name");
  return {};
}

// Frames order what ranks and shards do (messages.h); the segment's marks are the journal's.
Result<HostPlaces> host_places(const Placement& placement, const ObjectTable& table, const Clock& clock,
                               Deadline deadline) {
  const HostLayout layout(table.buckets, static_cast<std::uint32_t>(placement.local_size));
  ChunkJournal::Layout journal;
  if (placement.keeps_journal) {
    const ChunkPlan plan(table.buckets, table.chunk_bytes);
    journal = {layout.data_bytes(), plan.chunks().size(), table.shards};
  }
  const SegmentShape shape{layout.ranks(), 0, journal.blocks(), layout.data_bytes() + journal.data_bytes()};
  auto obtained =
      obtain_segment(placement.keeper, {table.object, table.number, hash_of(table.buckets), shape}, clock, deadline);
  if (!obtained) return std::move(obtained).error();
  const auto segment = std::make_shared<Segment>(std::move(*obtained));
  HostPlaces places;
  for (std::uint32_t bucket = 0; bucket < table.buckets.size(); ++bucket) {
    const std::uint64_t offset = layout.offset(static_cast<std::uint32_t>(placement.local_rank), bucket);
    places.buckets.emplace_back(segment, segment->data().data() + offset);
  }
  if (placement.keeps_journal) places.journal.emplace(segment, journal);
  return places;
}

}  // namespace tutti::ps
