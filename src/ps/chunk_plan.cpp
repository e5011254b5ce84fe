// SPDX-License-Identifier: Apache-2.0
#include "ps/chunk_plan.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "common/assert.h"

namespace tutti::ps {

namespace {

std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) noexcept {
  return value / by + (value % by != 0);
}

/// The common size of a bucket's chunks; only its last one may be smaller. Even sizes keep a bucket from ending in a
/// crumb that costs a frame and a wait of its own.
std::uint64_t even_chunk_bytes(std::uint64_t bytes, std::uint64_t chunk_bytes) noexcept {
  const std::uint64_t even = divide_up(bytes, chunk_count(bytes, chunk_bytes));
  return divide_up(even, kChunkAlignment) * kChunkAlignment;
}

}  // namespace

std::uint64_t aligned_chunk_bytes(std::uint64_t bytes) noexcept {
  return std::max(kChunkAlignment, bytes / kChunkAlignment * kChunkAlignment);
}

std::uint64_t chunk_count(std::uint64_t bytes, std::uint64_t chunk_bytes) noexcept {
  return divide_up(bytes, chunk_bytes);
}

ChunkPlan::ChunkPlan(std::span<const BucketSpec> buckets, std::uint64_t chunk_bytes) {
  TUTTI_ASSERT(chunk_bytes > 0 && chunk_bytes % kChunkAlignment == 0, "chunks hold whole elements");
  for (const BucketSpec& bucket : buckets) {
    first_of_bucket_.push_back(static_cast<std::uint32_t>(chunks_.size()));
    const auto number = static_cast<std::uint32_t>(first_of_bucket_.size() - 1);
    const std::uint64_t total = bucket.bytes();
    const std::uint64_t step = total == 0 ? 1 : even_chunk_bytes(total, chunk_bytes);
    for (std::uint64_t offset = 0; offset < total; offset += step) {
      const auto index = static_cast<std::uint32_t>(chunks_.size());
      chunks_.push_back({index, number, offset, std::min(step, total - offset), bucket.dtype, bucket.reduction, 0});
    }
  }
  first_of_bucket_.push_back(static_cast<std::uint32_t>(chunks_.size()));

  std::vector<std::uint64_t> bytes(chunks_.size());
  std::transform(chunks_.begin(), chunks_.end(), bytes.begin(), [](const Chunk& chunk) { return chunk.bytes; });
  const auto slots = deal_largest_first(bytes, kSlots);
  for (Chunk& chunk : chunks_) chunk.slot = slots[chunk.index];
}

std::span<const Chunk> ChunkPlan::of_bucket(std::uint32_t bucket) const {
  const std::uint32_t first = first_of_bucket_.at(bucket);
  return chunks().subspan(first, first_of_bucket_.at(bucket + 1) - first);
}

std::uint64_t ChunkPlan::largest_bytes() const noexcept {
  std::uint64_t largest = 0;
  for (const Chunk& chunk : chunks_) largest = std::max(largest, chunk.bytes);
  return largest;
}

ShardMap::ShardMap(const ChunkPlan& plan, int shards, int connections) {
  std::vector<std::uint64_t> bytes_of_slot(kSlots, 0);
  for (const Chunk& chunk : plan.chunks()) bytes_of_slot[chunk.slot] += chunk.bytes;
  for (const std::uint32_t shard : deal_largest_first(bytes_of_slot, static_cast<std::uint32_t>(shards))) {
    shard_of_slot_.push_back(static_cast<int>(shard));
  }
  std::vector<int> next(static_cast<std::size_t>(shards), 0);  // connection of each shard
  for (const Chunk& chunk : plan.chunks()) {
    int& turn = next[static_cast<std::size_t>(shard_of(chunk))];
    connection_of_chunk_.push_back(static_cast<std::uint8_t>(turn));
    turn = (turn + 1) % connections;
  }
}

std::vector<std::uint32_t> deal_largest_first(std::span<const std::uint64_t> weights, std::uint32_t bins) {
  TUTTI_ASSERT(bins > 0, "there is somebody to deal to");
  std::vector<std::uint32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return weights[a] > weights[b]; });

  using Load = std::pair<std::uint64_t, std::uint32_t>;  // what a bin has, and which it is
  std::priority_queue<Load, std::vector<Load>, std::greater<>> least_loaded;
  for (std::uint32_t bin = 0; bin < bins; ++bin) least_loaded.emplace(0, bin);
  std::vector<std::uint32_t> bin_of(weights.size());
  for (const std::uint32_t item : order) {
    const auto [load, bin] = least_loaded.top();
    least_loaded.pop();
    bin_of[item] = bin;
    least_loaded.emplace(load + weights[item], bin);
  }
  return bin_of;
}

}  // namespace tutti::ps
