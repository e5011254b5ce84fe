// SPDX-License-Identifier: Apache-2.0
#include "worker/shm_rounds.h"

#include <algorithm>
#include <utility>

namespace tutti::worker {
namespace {

constexpr int kRankBits = 12;

}  // namespace

std::uint64_t BlockMark::word() const noexcept {
  return round << (kRankBits + 1) | std::uint64_t{has_finding} << kRankBits | summed_by;
}

BlockMark BlockMark::of(std::uint64_t word) noexcept {
  return {word >> (kRankBits + 1), (word >> kRankBits & 1) != 0,
          static_cast<std::uint32_t>(word & ((std::uint64_t{1} << kRankBits) - 1))};
}

ShmRounds::ShmRounds(std::shared_ptr<Segment> segment, std::uint32_t ranks, const std::vector<PlacedTask>& tasks)
    : segment_(std::move(segment)), ranks_(ranks), is_share_(tasks.size()) {
  std::uint64_t block = 0;
  for (const PlacedTask& task : tasks) {
    const std::uint32_t blocks = block_count(task.spec.bytes());
    tasks_.push_back({task, block, blocks, 0});
    block += blocks;
    if (task.shared_by) is_share_[*task.shared_by] = true;
  }
}

std::optional<std::uint32_t> ShmRounds::waits_for(std::uint32_t task, std::uint64_t round) const {
  for (std::uint32_t rank = 0; rank < ranks_; ++rank) {
    if (!has_started(rank, task, round)) return rank;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> ShmRounds::holder_of(std::uint32_t task, std::uint64_t round,
                                                  std::span<const std::uint32_t> without) const {
  for (std::uint32_t rank = 0; rank < ranks_; ++rank) {
    if (std::ranges::find(without, rank) == without.end() && has_started(rank, task, round)) return rank;
  }
  return std::nullopt;
}

}  // namespace tutti::worker
