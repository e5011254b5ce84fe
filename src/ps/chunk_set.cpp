// SPDX-License-Identifier: Apache-2.0
#include "ps/chunk_set.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"

namespace tutti::ps {

namespace {

const std::byte* place_of(const Contribution& contribution) {
  return contribution.in_place ? contribution.in_place.get() : contribution.received.get();
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

std::vector<ChunkSum::Known> ChunkSet::known_parts() {
  std::vector<ChunkSum::Known> known;
  for (Contribution& rank : contributions_) {
    if (!rank.result_ranges.empty()) known.push_back({std::move(rank.result_ranges), place_of(rank)});
  }
  return known;
}

// Without a journal a shard that dies in the middle of a sum leaves buckets that hold some of their input and some of
// the result, and nobody knows which.
Reduced ChunkSet::reduce(const Chunk& chunk, Buffer spare, const SumTools& tools, SumJournal& journal) {
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

  std::vector<ChunkSum::Known> parts = known_parts();
  const bool is_written_down = journal.journal && !into.empty();
  const auto received =
      std::ranges::find_if(contributions_, [](const Contribution& rank) { return rank.received != nullptr; });
  // A buffer that the bytes come from is where they stay.
  const auto reused = known != contributions_.end() && known->received ? known : received;
  Buffer result = reused == contributions_.end() ? std::move(spare) : std::move(reused->received);
  if (result) into.push_back(result.get());

  const ChunkSum chunk_sum{chunk, std::move(from), std::move(into), std::move(parts), known != contributions_.end()};
  NotFiniteElements not_finite;
  if (is_written_down) {
    sum(chunk_sum, tools, not_finite, journal, *collecting_);
  } else {
    sum(chunk_sum, tools, not_finite);
  }
  contributions_.clear();
  completed_ = std::exchange(collecting_, std::nullopt);
  return {SharedBuffer(std::move(result)), not_finite.take()};
}

}  // namespace tutti::ps
