// SPDX-License-Identifier: Apache-2.0
// How far the tasks of a host's ranks are, as the marks of their segment say: who has started a task in which round,
// which of its blocks are done, and by whom. Thread safety: one thread of each process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/segment.h"
#include "worker/shm_work.h"

namespace tutti::worker {

/// What a block's done mark says.
struct BlockMark {
  std::uint64_t round = 0;
  bool has_finding = false;
  std::uint32_t summed_by = 0;

  std::uint64_t word() const noexcept;
  static BlockMark of(std::uint64_t word) noexcept;
};

struct ShmTask {
  PlacedTask what;
  std::uint64_t first_block = 0;  // in the segment's marks
  std::uint32_t blocks = 0;
  std::uint64_t round = 0;  // of this rank

  BlockRange range(std::uint32_t block) const noexcept { return {block, what.spec.bytes()}; }
};

class ShmRounds {
 public:
  ShmRounds(std::shared_ptr<Segment> segment, std::uint32_t ranks, const std::vector<PlacedTask>& tasks);

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(tasks_.size()); }
  ShmTask& operator[](std::uint32_t task) { return tasks_[task]; }
  const ShmTask& operator[](std::uint32_t task) const { return tasks_[task]; }
  /// It shares the result of another task's sum, which lies apart.
  bool is_share(std::uint32_t task) const { return is_share_[task]; }

  bool has_started(std::uint32_t rank, std::uint32_t task, std::uint64_t round) const {
    return segment_->ready(rank, task) >= round;
  }
  void mark_started(std::uint32_t rank, std::uint32_t task, std::uint64_t round) {
    segment_->mark_ready(rank, task, round);
  }
  /// A rank that has not started the task in this round.
  std::optional<std::uint32_t> waits_for(std::uint32_t task, std::uint64_t round) const;
  /// The first rank that has started the task in this round.
  std::optional<std::uint32_t> holder_of(std::uint32_t task, std::uint64_t round,
                                         std::span<const std::uint32_t> without) const;
  BlockMark mark(std::uint32_t task, std::uint32_t block) const {
    return BlockMark::of(segment_->done(tasks_[task].first_block + block));
  }
  void set_mark(std::uint32_t task, std::uint32_t block, const BlockMark& mark) {
    segment_->set_done(tasks_[task].first_block + block, mark.word());
  }
  bool is_block_done(std::uint32_t task, std::uint32_t block, std::uint64_t round) const {
    return mark(task, block).round == round;
  }
  bool is_complete(std::uint32_t task, std::uint64_t round) const {
    return segment_->finished(task) >= round * tasks_[task].blocks;
  }
  /// The newest round that is.
  std::uint64_t completed(std::uint32_t task) const { return segment_->finished(task) / tasks_[task].blocks; }
  /// The round after `rounds` may be worked on, of which so many blocks are done.
  void set_finished(std::uint32_t task, std::uint64_t rounds, std::uint32_t blocks) {
    segment_->resume(task, rounds + 1, rounds * tasks_[task].blocks + blocks);
  }

 private:
  const std::shared_ptr<Segment> segment_;
  const std::uint32_t ranks_;
  std::vector<ShmTask> tasks_;
  std::vector<bool> is_share_;  // by task
};

}  // namespace tutti::worker
