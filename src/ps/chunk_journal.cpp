// SPDX-License-Identifier: Apache-2.0
#include "ps/chunk_journal.h"

namespace tutti::ps {

// A generation is a replaced process, a step an optimizer's step: neither comes near the bound of its bits in a run.
std::uint64_t stamp_of(std::uint32_t generation, const Round& round) noexcept {
  constexpr int kGenerationBits = 16, kExchangeBits = 10;
  constexpr std::uint64_t kGenerationMask = (1u << kGenerationBits) - 1, kExchangeMask = (1u << kExchangeBits) - 1;
  return (round.step << kExchangeBits | (round.exchange & kExchangeMask)) << kGenerationBits |
         (generation & kGenerationMask);
}

std::span<std::byte> ChunkJournal::scratch(int shard) const noexcept {
  const std::uint64_t offset = layout_.begin + static_cast<std::uint64_t>(shard) * layout_.chunk_bytes;
  return segment_->data().subspan(offset, layout_.chunk_bytes);
}

ChunkJournal::Found ChunkJournal::look_up(std::uint32_t chunk, std::uint64_t stamp) const noexcept {
  if (segment_->done(chunk) != stamp) return Found::kInput;
  return segment_->done(layout_.chunks + chunk) == stamp ? Found::kInBucket : Found::kInScratch;
}

}  // namespace tutti::ps
