// SPDX-License-Identifier: Apache-2.0
#include "ps/messages.h"

#include <fmt/format.h>

#include <limits>

#include "common/bounded_archive.h"
#include "ps/chunk_plan.h"
#include "ps/reduce.h"

namespace tutti::ps {

namespace {

constexpr std::int32_t kProcessesMax =
    std::numeric_limits<std::uint16_t>::max();  // a frame names its sender in 16 bits
constexpr std::uint64_t kElementsMax = 1ull << 48;

Failure refuse(const ObjectTable& table, const std::string& why) {
  return fail(Errc::kProtocol, fmt::format("object {} cannot be opened: {}", table.object, why));
}

std::string describe(const BucketSpec& bucket) {
  constexpr const char* reductions[] = {"averaged", "summed", "broadcast"};
  return fmt::format("{} elements of {}, {}", bucket.elements, name_of(bucket.dtype),
                     reductions[static_cast<std::size_t>(bucket.reduction)]);
}

}  // namespace

std::string describe(const Round& round) {
  return round.exchange == 0 ? fmt::format("step {}", round.step)
                             : fmt::format("step {} (exchange {})", round.step, round.exchange);
}

Result<> check(const ObjectTable& table) {
  if (table.object >= kObjectsMax) return refuse(table, fmt::format("its number is not below {}", kObjectsMax));
  if (table.world_size < 1 || table.world_size > kProcessesMax) {
    return refuse(table, fmt::format("a world of {} ranks", table.world_size));
  }
  if (table.shards < 1 || table.shards > kProcessesMax) return refuse(table, fmt::format("{} shards", table.shards));
  if (table.chunk_bytes == 0 || table.chunk_bytes % kChunkAlignment != 0 || table.chunk_bytes > kPayloadBytesMax) {
    return refuse(table, fmt::format("chunks of {} bytes", table.chunk_bytes));
  }
  if (table.connections < 1 || table.connections > kConnectionsMax) {
    return refuse(table, fmt::format("{} connections to a shard", table.connections));
  }
  std::uint64_t chunks = 0;
  for (const BucketSpec& bucket : table.buckets) {
    if (bucket.elements > kElementsMax) return refuse(table, fmt::format("a bucket of {} elements", bucket.elements));
    if (!can_reduce(bucket.dtype, bucket.reduction)) return refuse(table, describe(bucket) + ", is not defined");
    chunks += chunk_count(bucket.bytes(), table.chunk_bytes);
    if (chunks > kChunksMax) return refuse(table, fmt::format("more than {} chunks", kChunksMax));
  }
  return {};
}

std::string first_difference(const ObjectTable& found, const ObjectTable& expected) {
  const auto differ = [](const char* what, auto one, auto other) {
    return one == other ? std::string() : fmt::format("{} is {}, {} was expected", what, one, other);
  };
  for (const std::string& text : {differ("the world size", found.world_size, expected.world_size),
                                  differ("the number of shards", found.shards, expected.shards),
                                  differ("the number of connections", found.connections, expected.connections),
                                  differ("chunk_bytes", found.chunk_bytes, expected.chunk_bytes),
                                  differ("the plan's number", found.number, expected.number),
                                  differ("the number of buckets", found.buckets.size(), expected.buckets.size())}) {
    if (!text.empty()) return text;
  }
  for (std::size_t i = 0; i < found.buckets.size(); ++i) {
    const std::string text =
        differ(fmt::format("bucket {}", i).c_str(), describe(found.buckets[i]), describe(expected.buckets[i]));
    if (!text.empty()) return text;
  }
  return {};
}

std::string describe_ranks(const std::vector<std::int32_t>& ranks) {
  return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
}

Result<ByteRanges> result_ranges_of(const FrameHeader& push, std::span<const std::byte> control) {
  if (push.flags != kHasRanges) return ByteRanges();
  auto known = decode<ResultRanges>(control);
  if (!known) return known.error();
  return std::move(known->ranges);
}

Result<std::vector<NotFiniteElement>> not_finite_of(const FrameHeader& result, std::span<const std::byte> control) {
  if (result.flags != kNotFinite) return std::vector<NotFiniteElement>();
  auto found = decode<NotFiniteResult>(control);
  if (!found) return found.error();
  return std::move(found->elements);
}

}  // namespace tutti::ps
