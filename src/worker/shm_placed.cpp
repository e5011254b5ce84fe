// SPDX-License-Identifier: Apache-2.0
// A claimed block is summed into the claimant's own bucket, marked, then copied to the others. So the only copy of an
// input is never destroyed before the result is whole: a claimant that dies before the mark has spoiled nothing but its
// own input, which its replacement computes again; after the mark the result is in the segment, which outlives it.
#include <algorithm>
#include <cstring>

#include "common/assert.h"
#include "ps/reduce.h"
#include "worker/shm_work.h"

namespace tutti::worker {
namespace {

class PlacedWork final : public ShmWork {
 public:
  PlacedWork(std::shared_ptr<Segment> segment, ShmTeam team, HostLayout layout, std::vector<PlacedTask> tasks)
      : segment_(std::move(segment)), team_(team), layout_(std::move(layout)) {
    std::uint64_t block = 0;
    for (const PlacedTask& task : tasks) {
      const std::uint32_t blocks = block_count(task.spec.bytes());
      tasks_.push_back({task, block, blocks, 0});
      block += blocks;
    }
  }

  void start(std::uint32_t task) override {
    TUTTI_ASSERT(is_done(task), "a task is started again after its result is there");
    segment_->set_ready(team_.rank, task, ++tasks_[task].round);
    active_.push_back(task);
  }

  bool advance() override {
    bool worked = false;
    for (const std::uint32_t task : active_) worked = work_on(task) || worked;
    std::erase_if(active_, [this](std::uint32_t task) { return is_done(task); });
    return worked;
  }

  bool is_done(std::uint32_t task) const override {
    return segment_->finished(task) >= tasks_[task].round * tasks_[task].blocks;
  }

  std::optional<std::uint32_t> waits_for(std::uint32_t task) const override {
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      if (segment_->ready(rank, task) < tasks_[task].round) return rank;
    }
    return std::nullopt;
  }

 private:
  struct Task {
    PlacedTask what;
    std::uint64_t first_block;
    std::uint32_t blocks;
    std::uint64_t round;
  };

  bool work_on(std::uint32_t number) {
    const Task& task = tasks_[number];
    if (waits_for(number)) return false;
    bool worked = false;
    while (const auto block = segment_->claim(number, task.round, task.blocks)) {
      worked = true;
      complete(task, *block);
      if (segment_->finish(number) == task.round * task.blocks) segment_->wake_all();
    }
    return worked;
  }

  void complete(const Task& task, std::uint32_t block) {
    const BlockRange range(block, task.what.spec.bytes());
    places_.clear();
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      places_.push_back(segment_->data().data() + layout_.offset(rank, task.what.bucket) + range.offset);
    }
    const bool shares = task.what.spec.reduction == Reduction::kBroadcast;
    std::byte* const source = places_[shares ? 0 : team_.rank];
    if (!shares) {
      inputs_.assign(places_.begin(), places_.end());
      ps::reduce(task.what.spec.dtype, task.what.spec.reduction, inputs_, {source, range.bytes});
    }
    segment_->set_done(task.first_block + block, task.round);
    if (task.what.for_first_rank) places_.resize(1);
    for (std::byte* const place : places_) {
      if (place != source) std::memcpy(place, source, range.bytes);
    }
  }

  const std::shared_ptr<Segment> segment_;
  const ShmTeam team_;
  const HostLayout layout_;
  std::vector<Task> tasks_;
  std::vector<std::uint32_t> active_;  // started and not done, in the order of their starts
  std::vector<std::byte*> places_;     // of the block in hand, by rank
  std::vector<const std::byte*> inputs_;
};

}  // namespace

SegmentShape placed_shape(const HostLayout& layout, std::span<const PlacedTask> tasks) {
  SegmentShape shape{layout.ranks(), static_cast<std::uint32_t>(tasks.size()), 0, layout.data_bytes()};
  for (const PlacedTask& task : tasks) shape.blocks += block_count(task.spec.bytes());
  return shape;
}

std::unique_ptr<ShmWork> make_placed_work(std::shared_ptr<Segment> segment, ShmTeam team, HostLayout layout,
                                          std::vector<PlacedTask> tasks) {
  TUTTI_ASSERT(segment->shape() == placed_shape(layout, tasks), "the segment was made for these buckets");
  return std::make_unique<PlacedWork>(std::move(segment), team, std::move(layout), std::move(tasks));
}

}  // namespace tutti::worker
