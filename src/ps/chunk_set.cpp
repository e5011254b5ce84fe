// SPDX-License-Identifier: Apache-2.0
#include "ps/chunk_set.h"

#include <utility>

#include "common/assert.h"
#include "ps/reduce.h"

namespace tutti::ps {

PushKind ChunkSet::judge(int rank, const Round& round) const {
  if (completed_ && round <= *completed_) return PushKind::kPast;
  if (!collecting_) return PushKind::kNew;
  if (round != *collecting_) return PushKind::kOutOfStep;
  return has(rank) ? PushKind::kRepeat : PushKind::kNew;
}

void ChunkSet::add(int rank, const Round& round, Buffer bytes, int world_size) {
  TUTTI_ASSERT(judge(rank, round) == PushKind::kNew, "a contribution is added once");
  if (!collecting_) {
    collecting_ = round;
    contributions_.resize(static_cast<std::size_t>(world_size));
    arrived_.assign(static_cast<std::size_t>(world_size), false);
    missing_ = world_size;
  }
  contributions_[static_cast<std::size_t>(rank)] = std::move(bytes);
  arrived_[static_cast<std::size_t>(rank)] = true;
  --missing_;
}

SharedBuffer ChunkSet::reduce(const Chunk& chunk) {
  TUTTI_ASSERT(complete(), "only a complete set is summed");
  if (chunk.reduction != Reduction::kBroadcast) {
    std::vector<const std::byte*> from;
    for (const Buffer& contribution : contributions_) from.push_back(contribution.get());
    ps::reduce(chunk.dtype, chunk.reduction, from, {contributions_.front().get(), chunk.bytes});
  }
  SharedBuffer result(std::move(contributions_.front()));
  contributions_.clear();
  completed_ = std::exchange(collecting_, std::nullopt);
  return result;
}

}  // namespace tutti::ps
