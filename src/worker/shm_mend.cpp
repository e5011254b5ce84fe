// SPDX-License-Identifier: Apache-2.0
#include "worker/shm_mend.h"

#include <algorithm>

namespace tutti::worker {

bool ShmMender::is_lost(std::uint32_t rank) const {
  return std::ranges::find(lost_, rank) != lost_.end();
}

void ShmMender::mend(std::uint32_t task) {
  const auto holder = rounds_.holder_of(task, round_, lost_);
  if (!holder) return forget(task);
  if (rounds_.is_complete(task, round_)) return;
  const PlacedTask& what = rounds_[task].what;
  count_done(task, [&](std::uint32_t block) {
    const BlockMark mark = rounds_.mark(task, block);
    if (mark.has_finding) return;
    const bool shares = what.spec.reduction == Reduction::kBroadcast;
    places_.copy_to_all(what.bucket, rounds_[task].range(block), shares ? 0 : mark.summed_by);
    rounds_.set_mark(task, block, {round_, false, *holder});
  });
}

void ShmMender::mend_apart(std::uint32_t sum, std::uint32_t share) {
  share_what_is_whole(sum, share);
  const bool has_no_holder = !rounds_.holder_of(sum, round_, lost_);
  if (has_no_holder) forget(share);
  const bool is_rank_0s = rounds_.is_complete(sum, round_) && !rounds_.is_complete(share, round_);
  if (has_no_holder || (is_rank_0s && is_lost(0))) return forget(sum);
  if (!rounds_.is_complete(sum, round_)) count_done(sum, [](std::uint32_t) {});
}

/// What rank 0 has shared, or begun to, becomes the result of every rank that has started the sum (or has nothing to
/// sum): for it, rank 0 need not live. Newcomers find it there.
void ShmMender::share_what_is_whole(std::uint32_t sum, std::uint32_t share) {
  const ShmTask& task = rounds_[share];
  if (task.blocks == 0) return;
  std::uint64_t round = rounds_.completed(share);
  auto source = rounds_.holder_of(share, round, {});  // who is lost has it until its successor begins
  const bool is_begun = rounds_.has_started(0, share, round + 1);
  if (is_begun) {
    ++round;
    source = 0;
  }
  for (std::uint32_t rank = 0; source && rank < ranks_; ++rank) {
    const bool has_it = rounds_.has_started(rank, share, round) && !is_begun;
    const bool takes_part = rounds_.has_started(rank, sum, round) || rounds_[sum].blocks == 0;
    if (is_lost(rank) || has_it || !takes_part || rounds_.has_started(rank, sum, round + 1)) continue;
    for (std::uint32_t block = 0; block < task.blocks; ++block)
      places_.copy(task.what.bucket, task.range(block), *source, rank);
    if (rounds_.has_started(rank, sum, round)) rounds_.mark_started(rank, share, round);
  }
  if (!is_begun) return;
  for (std::uint32_t block = 0; block < task.blocks; ++block) rounds_.set_mark(share, block, {round, false, 0});
  rounds_.set_finished(share, round, 0);
}

/// Nobody is left who has a part in it: all of the round is done again.
void ShmMender::forget(std::uint32_t task) {
  for (std::uint32_t block = 0; block < rounds_[task].blocks; ++block) {
    if (rounds_.is_block_done(task, block, round_)) rounds_.set_mark(task, block, {round_ - 1, false, 0});
  }
  rounds_.set_finished(task, round_ - 1, 0);
}

/// `f` is called for each block of the round that is done; the others may be claimed anew.
template <class F>
void ShmMender::count_done(std::uint32_t task, F f) {
  std::uint32_t done = 0;
  for (std::uint32_t block = 0; block < rounds_[task].blocks; ++block) {
    if (!rounds_.is_block_done(task, block, round_)) continue;
    ++done;
    f(block);
  }
  rounds_.set_finished(task, round_ - 1, done);
}

}  // namespace tutti::worker
