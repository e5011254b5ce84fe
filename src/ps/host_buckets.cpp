// SPDX-License-Identifier: Apache-2.0
#include "ps/host_buckets.h"

#include <fmt/format.h>

#include <string>

#include "common/bounded_archive.h"
#include "common/crc32c.h"
#include "common/host_layout.h"
#include "common/host_memory.h"

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

// The segment's marks are not used: frames order what ranks and shards do (messages.h).
Result<HostBuckets> host_buckets(const Placement& placement, std::uint32_t object, std::uint32_t number,
                                 std::span<const BucketSpec> buckets, const Clock& clock, Deadline deadline) {
  const HostLayout layout(buckets, static_cast<std::uint32_t>(placement.local_size));
  const SegmentRequest request{object, number, hash_of(buckets), {layout.ranks(), 0, 0, layout.data_bytes()}};
  auto obtained = obtain_segment(placement.keeper, request, clock, deadline);
  if (!obtained) return std::move(obtained).error();
  const auto segment = std::make_shared<Segment>(std::move(*obtained));
  HostBuckets places;
  for (std::uint32_t bucket = 0; bucket < buckets.size(); ++bucket) {
    const std::uint64_t offset = layout.offset(static_cast<std::uint32_t>(placement.local_rank), bucket);
    places.emplace_back(segment, segment->data().data() + offset);
  }
  return places;
}

}  // namespace tutti::ps
