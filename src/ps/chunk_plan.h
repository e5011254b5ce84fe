// SPDX-License-Identifier: Apache-2.0
// ps: the parameter server. A bucket is cut into chunks, the unit of wire, sum and placement; a chunk lies in one of a
// fixed number of logical slots, and whole slots are dealt to shards, so that they can be moved later without cutting
// anything anew. Everybody computes the same plan from the same table. Protocol machines (shard, client) are sans-I/O;
// the shells around them live on a loop.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/dtype.h"

namespace tutti::ps {

/// Enough that the bytes of neighbouring slots even out over a few dozen shards, few enough to list.
inline constexpr std::uint32_t kSlots = 256;
/// Every chunk but a bucket's last is a multiple of this: whole cache lines, and whole elements of every dtype.
inline constexpr std::uint64_t kChunkAlignment = 64;

struct Chunk {
  std::uint32_t index = 0;  ///< within the object: the plan's order
  std::uint32_t bucket = 0;
  std::uint64_t offset_bytes = 0;  ///< within the bucket
  std::uint64_t bytes = 0;
  DType dtype = DType::kFloat32;
  Reduction reduction = Reduction::kAverage;
  std::uint32_t slot = 0;
};

/// `bytes` as the size of a chunk: rounded down to the alignment, but never below it.
std::uint64_t aligned_chunk_bytes(std::uint64_t bytes) noexcept;
/// How many chunks of at most `chunk_bytes` a bucket of `bytes` is cut into.
std::uint64_t chunk_count(std::uint64_t bytes, std::uint64_t chunk_bytes) noexcept;

class ChunkPlan {
 public:
  /// Cuts each bucket into as few chunks of at most `chunk_bytes` as possible, all of nearly the same size. REQUIRES:
  /// `chunk_bytes` is a positive multiple of kChunkAlignment; there are fewer than 2^32 chunks.
  ChunkPlan(std::span<const BucketSpec> buckets, std::uint64_t chunk_bytes);

  std::span<const Chunk> chunks() const noexcept { return chunks_; }
  std::span<const Chunk> of_bucket(std::uint32_t bucket) const;
  std::uint64_t largest_bytes() const noexcept;

 private:
  std::vector<Chunk> chunks_;
  std::vector<std::uint32_t> first_of_bucket_;  // one more than there are buckets
};

/// Which shard serves which slot, and on which of a rank's connections to it a chunk and its result travel. There may
/// be more shards than chunks: then some have none.
class ShardMap {
 public:
  ShardMap(const ChunkPlan& plan, int shards, int connections = 1);
  int shard_of(const Chunk& chunk) const { return shard_of_slot_[chunk.slot]; }
  /// A shard's chunks take its connections in turn, so that neighbours travel side by side.
  int connection_of(const Chunk& chunk) const { return connection_of_chunk_[chunk.index]; }

 private:
  std::vector<int> shard_of_slot_;
  std::vector<std::uint8_t> connection_of_chunk_;
};

/// Gives each weight a bin, the largest weight first, always to the bin that has least so far (the lowest of several),
/// equal weights in their order: longest processing time first, which is within 4/3 of the best (Graham, 1969).
std::vector<std::uint32_t> deal_largest_first(std::span<const std::uint64_t> weights, std::uint32_t bins);

}  // namespace tutti::ps
