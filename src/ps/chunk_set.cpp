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

/// One contribution is its own sum and its own average.
void combine(const Chunk& chunk, const std::vector<const std::byte*>& from, const std::vector<std::byte*>& into,
             const SumTools& tools) {
  if (from.size() == 1) return copy(chunk, from.front(), into, tools);
  sum(chunk, from, into, tools);
}

void write_down(const Chunk& chunk, const std::vector<const std::byte*>& from, const std::vector<std::byte*>& into,
                const SumTools& tools, SumJournal& journal, std::uint64_t stamp) {
  std::byte* const scratch = journal.journal->scratch(journal.shard).data();
  combine(chunk, from, {scratch}, tools);
  journal.journal->mark_summed(chunk.index, stamp);
  copy(chunk, scratch, into, tools);
  journal.journal->mark_copied(chunk.index, stamp);
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

bool ChunkSet::needs_spare() const {
  TUTTI_ASSERT(complete(), "only a complete set is looked at");
  return std::ranges::any_of(contributions_, [](const Contribution& rank) { return rank.in_place == nullptr; }) &&
         std::ranges::all_of(contributions_, [](const Contribution& rank) { return rank.received == nullptr; });
}

// Without a journal inputs are overwritten by the result, block by block: a shard that dies in the middle of a sum
// leaves buckets that hold some of each.
SharedBuffer ChunkSet::reduce(const Chunk& chunk, Buffer spare, const SumTools& tools, SumJournal& journal) {
  TUTTI_ASSERT(complete(), "only a complete set is summed");
  std::vector<const std::byte*> from;
  std::vector<std::byte*> into;
  for (const Contribution& rank : contributions_) {
    from.push_back(place_of(rank));
    if (rank.in_place) into.push_back(rank.in_place.get());
  }
  const auto known = std::ranges::find_if(contributions_, &Contribution::is_result);
  if (known != contributions_.end()) from = {place_of(*known)};
  if (chunk.reduction == Reduction::kBroadcast) from.resize(1);

  const bool is_written_down = journal.journal && !into.empty();
  const auto received =
      std::ranges::find_if(contributions_, [](const Contribution& rank) { return rank.received != nullptr; });
  // A buffer that the bytes come from is where they stay.
  const auto reused = known != contributions_.end() && known->received ? known : received;
  Buffer result = reused == contributions_.end() ? std::move(spare) : std::move(reused->received);
  if (result) into.push_back(result.get());

  if (is_written_down) {
    write_down(chunk, from, into, tools, journal, stamp_of(journal.generation, *collecting_));
  } else {
    combine(chunk, from, into, tools);
  }
  contributions_.clear();
  completed_ = std::exchange(collecting_, std::nullopt);
  return SharedBuffer(std::move(result));
}

}  // namespace tutti::ps
