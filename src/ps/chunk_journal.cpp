// SPDX-License-Identifier: Apache-2.0
// Marks of the segment: each chunk's stamp, then for each chunk how far each of its parts is, in one word: its first
// block, the one that comes next, and whether that one's result lies in the scratch.
#include "ps/chunk_journal.h"

#include <algorithm>
#include <cstring>

namespace tutti::ps {

namespace {

constexpr int kBlockBits = 31;  // a chunk is a frame's payload at most: 2^30 bytes
constexpr std::uint64_t kBlockMask = (std::uint64_t{1} << kBlockBits) - 1;

constexpr std::uint64_t progress(std::uint32_t first, std::uint32_t next, bool in_scratch) noexcept {
  return (std::uint64_t{first} << kBlockBits | next) << 1 | (in_scratch ? 1 : 0);
}

}  // namespace

// A generation is a replaced process, a step an optimizer's step: neither comes near the bound of its bits in a run.
std::uint64_t stamp_of(std::uint32_t generation, const Round& round) noexcept {
  constexpr int kGenerationBits = 16, kExchangeBits = 10;
  constexpr std::uint64_t kGenerationMask = (1u << kGenerationBits) - 1, kExchangeMask = (1u << kExchangeBits) - 1;
  return (round.step << kExchangeBits | (round.exchange & kExchangeMask)) << kGenerationBits |
         (generation & kGenerationMask);
}

// The stamp comes last: until then it is that of an exchange for which nobody asks any more.
void ChunkJournal::begin(std::uint32_t chunk, std::uint64_t stamp) noexcept {
  for (int part = 0; part < kParts; ++part) segment_->set_done(progress_of(chunk, part), 0);
  segment_->set_done(chunk, stamp);
}

std::byte* ChunkJournal::scratch(int shard, int part) const noexcept {
  const auto before = static_cast<std::uint64_t>(shard * kParts + part);
  return segment_->data().subspan(layout_.begin + before * kBlockBytes, kBlockBytes).data();
}

void ChunkJournal::mark_summed(std::uint32_t chunk, int part, std::uint32_t first, std::uint32_t next) noexcept {
  segment_->set_done(progress_of(chunk, part), progress(first, next, true));
}

void ChunkJournal::mark_copied(std::uint32_t chunk, int part, std::uint32_t first, std::uint32_t next) noexcept {
  segment_->set_done(progress_of(chunk, part), progress(first, next, false));
}

ByteRanges ChunkJournal::recover(int shard, const Chunk& chunk, std::uint64_t stamp, std::byte* place) const {
  ByteRanges found;
  if (segment_->done(chunk.index) != stamp) return found;
  for (int part = 0; part < kParts; ++part) {
    const std::uint64_t mark = segment_->done(progress_of(chunk.index, part));
    const std::uint64_t first = (mark >> (kBlockBits + 1)) * kBlockBytes;
    const std::uint64_t next = std::min(((mark >> 1) & kBlockMask) * kBlockBytes, chunk.bytes);
    const std::uint64_t in_scratch = (mark & 1) == 0 ? 0 : std::min(kBlockBytes, chunk.bytes - next);
    if (in_scratch != 0) std::memcpy(place + next, scratch(shard, part), in_scratch);
    add(found, {first, next + in_scratch});
  }
  return found;
}

}  // namespace tutti::ps
