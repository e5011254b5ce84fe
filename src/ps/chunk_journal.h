// SPDX-License-Identifier: Apache-2.0
// What a shard that sums in the buckets of its host's ranks leaves behind when it is killed, in memory that outlives
// it. A chunk is summed block by block: a block's sum is made aside first, in a scratch that never leaves the cache;
// then it is marked whole there, copied over the inputs, and marked copied. So at any moment a block's inputs are all
// there, or its result is: in a scratch or in every bucket.
//
// A chunk's stamp names the exchange and the generation in which the shard took it up: what was marked for a process
// that was lost says nothing about its successor's bucket.
// Thread safety: values; marks from any process. A scratch, and the marks of its part, belong to one thread of a shard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/segment.h"
#include "ps/byte_ranges.h"
#include "ps/chunk_plan.h"
#include "ps/messages.h"

namespace tutti::ps {

/// Never 0, which is the stamp of a chunk that was never summed.
std::uint64_t stamp_of(std::uint32_t generation, const Round& round) noexcept;

class ChunkJournal {
 public:
  /// A chunk is summed in so many parts at most, each by one thread with a scratch of its own.
  static constexpr int kParts = 4;
  /// A scratch: so small that two ranks' blocks, the sum and what is read ahead of them stay in the first-level cache.
  /// Then the way over the scratch costs nothing beside the memory's own speed; with 16 KiB it cost a sixth.
  static constexpr std::uint64_t kBlockBytes = 2048;

  /// What it takes up in the marks of a segment, and in its data behind `begin`.
  struct Layout {
    std::uint64_t begin = 0;
    std::uint64_t chunks = 0;
    int shards = 1;
    std::uint64_t blocks() const noexcept { return chunks * (1 + kParts); }
    std::uint64_t data_bytes() const noexcept { return static_cast<std::uint64_t>(shards) * kParts * kBlockBytes; }
  };

  ChunkJournal(std::shared_ptr<Segment> segment, const Layout& layout)
      : segment_(std::move(segment)), layout_(layout) {}

  /// The shard takes the chunk up: nothing of it is summed.
  void begin(std::uint32_t chunk, std::uint64_t stamp) noexcept;
  std::byte* scratch(int shard, int part) const noexcept;
  /// Of this part, which begins at block `first`, those before `next` are copied, and the result of `next` is whole in
  /// the scratch. Releases what was written before it.
  void mark_summed(std::uint32_t chunk, int part, std::uint32_t first, std::uint32_t next) noexcept;
  /// Those before `next` are copied; the scratch is not needed any more.
  void mark_copied(std::uint32_t chunk, int part, std::uint32_t first, std::uint32_t next) noexcept;

  /// The bytes of the chunk that hold the result in a bucket; `place` is the chunk there. What lies in a scratch only
  /// is copied from there first. REQUIRES: `shard`, whose chunk it is, is gone, or has taken up another generation.
  ByteRanges recover(int shard, const Chunk& chunk, std::uint64_t stamp, std::byte* place) const;

 private:
  std::uint64_t progress_of(std::uint32_t chunk, int part) const noexcept {
    return layout_.chunks + std::uint64_t{chunk} * kParts + static_cast<std::uint64_t>(part);
  }

  std::shared_ptr<Segment> segment_;
  Layout layout_;
};

}  // namespace tutti::ps
