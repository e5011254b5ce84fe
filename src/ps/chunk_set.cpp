// SPDX-License-Identifier: Apache-2.0
#include "ps/chunk_set.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/assert.h"
#include "ps/reduce.h"

namespace tutti::ps {

namespace {

const std::byte* place_of(const Contribution& contribution) {
  return contribution.in_place ? contribution.in_place.get() : contribution.received.get();
}

void sum(const Chunk& chunk, const std::vector<const std::byte*>& from, const std::vector<std::byte*>& into,
         const SumTools& tools) {
  for (const std::byte* place : from) count_pass(tools.meter, BytePass::kSummed, place, chunk.bytes);
  for (const std::byte* place : into) count_pass(tools.meter, BytePass::kStored, place, chunk.bytes);
  const auto sum_part = [&](std::size_t offset, std::size_t bytes) {
    std::vector<const std::byte*> part_from(from);
    std::vector<std::byte*> part_into(into);
    for (auto& place : part_from) place += offset;
    for (auto& place : part_into) place += offset;
    reduce_to_all(chunk.dtype, chunk.reduction, part_from, part_into, bytes);
  };
  if (tools.threads == nullptr) return sum_part(0, chunk.bytes);
  tools.threads->run(chunk.bytes, sum_part);
}

void copy(const Chunk& chunk, const std::byte* from, const std::vector<std::byte*>& into, const SumTools& tools) {
  for (std::byte* place : into) {
    if (place == from) continue;
    std::memcpy(place, from, chunk.bytes);
    count_pass(tools.meter, BytePass::kCopied, from, chunk.bytes);
    count_pass(tools.meter, BytePass::kStored, place, chunk.bytes);
  }
}

}  // namespace

PushKind ChunkSet::judge(int rank, const Round& round) const {
  if (completed_ && round <= *completed_) return PushKind::kPast;
  if (!collecting_) return PushKind::kNew;
  if (round != *collecting_) return PushKind::kOutOfStep;
  return has(rank) ? PushKind::kRepeat : PushKind::kNew;
}

void ChunkSet::add(int rank, const Round& round, Contribution contribution, int world_size) {
  TUTTI_ASSERT(judge(rank, round) == PushKind::kNew, "a contribution is added once");
  if (!collecting_) {
    collecting_ = round;
    contributions_.resize(static_cast<std::size_t>(world_size));
    arrived_.assign(static_cast<std::size_t>(world_size), false);
    missing_ = world_size;
  }
  contributions_[static_cast<std::size_t>(rank)] = std::move(contribution);
  arrived_[static_cast<std::size_t>(rank)] = true;
  --missing_;
}

bool ChunkSet::needs_spare(const Chunk& chunk) const {
  TUTTI_ASSERT(complete(), "only a complete set is looked at");
  return chunk.reduction == Reduction::kBroadcast && contributions_.front().in_place != nullptr &&
         std::any_of(contributions_.begin(), contributions_.end(),
                     [](const Contribution& rank) { return rank.in_place == nullptr; });
}

// Inputs are overwritten by the result, block by block: a shard that dies in the middle of a sum leaves buckets that
// hold some of each. What was received is lost with it; only the ranks whose buckets lie elsewhere still have their
// input. So a set with a bucket in place is repaired by computing its gradients again, not by pushing again.
SharedBuffer ChunkSet::reduce(const Chunk& chunk, Buffer spare, const SumTools& tools) {
  TUTTI_ASSERT(complete(), "only a complete set is summed");
  Buffer result = std::move(spare);
  std::vector<const std::byte*> from;
  std::vector<std::byte*> into;
  for (const Contribution& rank : contributions_) {
    from.push_back(place_of(rank));
    if (rank.in_place) into.push_back(rank.in_place.get());
  }
  const auto received = std::find_if(contributions_.begin(), contributions_.end(),
                                     [](const Contribution& rank) { return rank.received != nullptr; });
  if (received != contributions_.end()) result = std::move(received->received);
  if (result) into.push_back(result.get());
  if (chunk.reduction == Reduction::kBroadcast) {
    copy(chunk, from.front(), into, tools);
  } else if (contributions_.size() > 1) {  // one contribution is its own sum and its own average
    sum(chunk, from, into, tools);
  }
  contributions_.clear();
  completed_ = std::exchange(collecting_, std::nullopt);
  return SharedBuffer(std::move(result));
}

}  // namespace tutti::ps
