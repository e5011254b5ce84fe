// SPDX-License-Identifier: Apache-2.0
// What a shard that sums in the buckets of its host's ranks leaves behind when it is killed, in memory that outlives
// it. A sum is made aside first, in the shard's scratch; then it is marked whole, copied over the inputs, and marked
// copied. So at any moment a chunk's inputs are all there, or its result is: in the scratch or in every bucket.
//
// A mark is a stamp of the exchange and of the generation in which the shard took it up: what was marked for a process
// that was lost says nothing about its successor's bucket.
// Thread safety: values; marks from any process. The scratch of a shard is written by that shard alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/segment.h"
#include "ps/messages.h"

namespace tutti::ps {

/// Never 0, which is the mark of a chunk that was never summed.
std::uint64_t stamp_of(std::uint32_t generation, const Round& round) noexcept;

class ChunkJournal {
 public:
  /// What it takes up in the marks of a segment, and in its data behind `begin`.
  struct Layout {
    std::uint64_t begin = 0;
    std::uint64_t chunks = 0;
    std::uint64_t chunk_bytes = 0;
    int shards = 1;
    std::uint64_t blocks() const noexcept { return 2 * chunks; }
    std::uint64_t data_bytes() const noexcept { return static_cast<std::uint64_t>(shards) * chunk_bytes; }
  };
  enum class Found {
    kInput,      ///< the buckets hold the inputs still
    kInScratch,  ///< the result is whole in the shard's scratch, and in some of the buckets
    kInBucket,   ///< the buckets hold the result
  };

  ChunkJournal(std::shared_ptr<Segment> segment, const Layout& layout)
      : segment_(std::move(segment)), layout_(layout) {}

  std::span<std::byte> scratch(int shard) const noexcept;
  /// The result is whole in the scratch. Releases what was written before it.
  void mark_summed(std::uint32_t chunk, std::uint64_t stamp) noexcept { segment_->set_done(chunk, stamp); }
  /// The scratch is not needed any more.
  void mark_copied(std::uint32_t chunk, std::uint64_t stamp) noexcept {
    segment_->set_done(layout_.chunks + chunk, stamp);
  }
  /// REQUIRES: the shard is gone, or has taken up another generation.
  Found look_up(std::uint32_t chunk, std::uint64_t stamp) const noexcept;

 private:
  std::shared_ptr<Segment> segment_;
  Layout layout_;
};

}  // namespace tutti::ps
