// SPDX-License-Identifier: Apache-2.0
// A claimed block is summed into the claimant's own bucket, marked, then copied to the others. So the only copy of an
// input is never destroyed before the result is whole: a claimant that dies before the mark has spoiled nothing but its
// own input, which its replacement computes again; after the mark the result is in the segment, which outlives it. The
// mark names the claimant: there the result is, should the copies not have been made.
#include <algorithm>
#include <cstring>

#include "common/assert.h"
#include "ps/reduce.h"
#include "worker/shm_work.h"

namespace tutti::worker {
namespace {

class PlacedWork final : public ShmWork {
 public:
  PlacedWork(std::shared_ptr<Segment> segment, ShmTeam team, HostLayout layout, std::vector<PlacedTask> tasks,
             const std::vector<BucketRange>& ranges)
      : segment_(std::move(segment)), team_(team), layout_(std::move(layout)) {
    std::uint64_t block = 0;
    for (const PlacedTask& task : tasks) {
      const std::uint32_t blocks = block_count(task.spec.bytes());
      tasks_.push_back({task, block, blocks, 0});
      block += blocks;
    }
    for (const BucketRange& range : ranges) {
      const auto number = static_cast<std::uint32_t>(ranges_.size());
      ranges_.push_back({range, number});
      table(team_.rank)[number] = layout_.offset(team_.rank, range.bucket) + range.offset_bytes;
    }
  }

  void start(std::uint32_t task) override {
    TUTTI_ASSERT(is_done(task), "a task is started again after its result is there");
    ++tasks_[task].round;
    if (survivor_ && tasks_[task].round == inherited_rounds_ + 1) fetch_results(tasks_[task]);
    segment_->set_ready(team_.rank, task, tasks_[task].round);
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

  void lies_at(std::uint32_t range, std::byte* where) override {
    table(team_.rank)[range] = static_cast<std::uint64_t>(where - segment_->data().data());
  }

  void mend(std::span<const std::uint32_t> lost) override {
    for (std::uint32_t number = 0; number < tasks_.size(); ++number) mend(number, lost);
    segment_->wake_all();
  }

  void take_over(std::uint64_t rounds, std::uint32_t survivor) override {
    for (Task& task : tasks_) task.round = rounds;
    inherited_rounds_ = rounds;
    survivor_ = survivor;
  }

  std::optional<std::uint32_t> waits_for(std::uint32_t task) const override {
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      if (segment_->ready(rank, task) < tasks_[task].round) return rank;
    }
    return std::nullopt;
  }

 private:
  static constexpr int kRankBits = 12;  // of a done mark; the round stands above them
  static constexpr std::uint64_t kRankMask = (std::uint64_t{1} << kRankBits) - 1;

  struct Task {
    PlacedTask what;
    std::uint64_t first_block;
    std::uint32_t blocks;
    std::uint64_t round;
  };

  struct Range {
    BucketRange what;
    std::uint32_t number;
  };

  bool work_on(std::uint32_t number) {
    const Task& task = tasks_[number];
    if (waits_for(number)) return false;
    bool worked = false;
    while (const auto block = segment_->claim(number, task.round, task.blocks)) {
      if (is_block_done(task, *block, task.round)) continue;  // before a rank was replaced
      worked = true;
      complete(task, *block);
      if (segment_->finish(number) == task.round * task.blocks) segment_->wake_all();
    }
    return worked;
  }

  void complete(const Task& task, std::uint32_t block) {
    const BlockRange range(block, task.what.spec.bytes());
    const std::uint64_t end = range.offset + range.bytes;
    TUTTI_ASSERT(range.bytes > 0, "a block holds something");
    for_each_part(task.what.bucket, range.offset, end,
                  [&](std::uint64_t begin, std::uint64_t bytes, const Range* part) {
                    find_places(task.what.bucket, begin, part);
                    const bool shares = task.what.spec.reduction == Reduction::kBroadcast;
                    if (!shares) {
                      inputs_.assign(places_.begin(), places_.end());
                      ps::reduce(task.what.spec.dtype, task.what.spec.reduction, inputs_, {places_[team_.rank], bytes});
                    }
                  });
    segment_->set_done(task.first_block + block, task.round << kRankBits | team_.rank);
    spread(task, block, team_.rank, task.what.for_first_rank ? 1 : team_.ranks);
  }

  /// Copies the result of a block from who summed it to the first `ranks`.
  void spread(const Task& task, std::uint32_t block, std::uint32_t summed_by, std::uint32_t ranks) {
    const BlockRange range(block, task.what.spec.bytes());
    for_each_part(task.what.bucket, range.offset, range.offset + range.bytes,
                  [&](std::uint64_t begin, std::uint64_t bytes, const Range* part) {
                    find_places(task.what.bucket, begin, part);
                    const bool shares = task.what.spec.reduction == Reduction::kBroadcast;
                    const std::byte* const source = places_[shares ? 0 : summed_by];
                    places_.resize(ranks);
                    for (std::byte* const place : places_) {
                      if (place != source) std::memcpy(place, source, bytes);
                    }
                  });
  }

  bool is_block_done(const Task& task, std::uint32_t block, std::uint64_t round) const {
    return segment_->done(task.first_block + block) >> kRankBits == round;
  }

  void mend(std::uint32_t number, std::span<const std::uint32_t> lost) {
    const Task& task = tasks_[number];
    if (task.blocks == 0) return;
    const std::uint64_t round = segment_->finished(number) / task.blocks + 1;
    std::uint32_t done = 0;
    for (std::uint32_t block = 0; block < task.blocks; ++block) {
      if (!is_block_done(task, block, round)) continue;
      ++done;
      const std::uint64_t mark = segment_->done(task.first_block + block);
      spread(task, block, static_cast<std::uint32_t>(mark & kRankMask), team_.ranks);
    }
    segment_->resume(number, round, (round - 1) * task.blocks + done);
    if (done == task.blocks) return;
    for (const std::uint32_t rank : lost) segment_->mark_ready(rank, number, round - 1);
  }

  void fetch_results(const Task& task) {
    for (std::uint32_t block = 0; block < task.blocks; ++block) {
      if (!is_block_done(task, block, task.round)) continue;
      const BlockRange range(block, task.what.spec.bytes());
      for_each_part(task.what.bucket, range.offset, range.offset + range.bytes,
                    [&](std::uint64_t begin, std::uint64_t bytes, const Range* part) {
                      find_places(task.what.bucket, begin, part);
                      std::memcpy(places_[team_.rank], places_[*survivor_], bytes);
                    });
    }
  }

  /// Cuts [begin, end) of the bucket where ranges begin and end.
  template <class F>
  void for_each_part(std::uint32_t bucket, std::uint64_t begin, std::uint64_t end, F f) const {
    while (begin < end) {
      const Range* const range = range_at_or_after(bucket, begin);
      const bool inside = range != nullptr && range->what.offset_bytes <= begin;
      std::uint64_t next = end;
      if (inside) next = std::min(end, range->what.offset_bytes + range->what.bytes);
      if (!inside && range != nullptr) next = std::min(end, range->what.offset_bytes);
      f(begin, next - begin, inside ? range : nullptr);
      begin = next;
    }
  }

  const Range* range_at_or_after(std::uint32_t bucket, std::uint64_t offset) const {
    const auto found = std::partition_point(ranges_.begin(), ranges_.end(), [&](const Range& range) {
      return range.what.bucket < bucket ||
             (range.what.bucket == bucket && range.what.offset_bytes + range.what.bytes <= offset);
    });
    return found != ranges_.end() && found->what.bucket == bucket ? &*found : nullptr;
  }

  /// Where every rank has the element at `offset` of the bucket.
  void find_places(std::uint32_t bucket, std::uint64_t offset, const Range* range) {
    places_.clear();
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      const std::uint64_t at = range == nullptr ? layout_.offset(rank, bucket) + offset
                                                : table(rank)[range->number] + (offset - range->what.offset_bytes);
      places_.push_back(segment_->data().data() + at);
    }
  }

  /// Where the rank's ranges lie: written before it marks their bucket ready, read after that.
  std::uint64_t* table(std::uint32_t rank) const {
    return reinterpret_cast<std::uint64_t*>(segment_->data().data() + layout_.table(rank));
  }

  const std::shared_ptr<Segment> segment_;
  const ShmTeam team_;
  const HostLayout layout_;
  std::vector<Task> tasks_;
  std::vector<Range> ranges_;
  std::vector<std::uint32_t> active_;  // started and not done, in the order of their starts
  std::vector<std::byte*> places_;     // of the block in hand, by rank
  std::vector<const std::byte*> inputs_;
  std::optional<std::uint32_t> survivor_;  // a newcomer's: from whom it has the results of its first round
  std::uint64_t inherited_rounds_ = 0;
};

}  // namespace

SegmentShape placed_shape(const HostLayout& layout, std::span<const PlacedTask> tasks) {
  SegmentShape shape{layout.ranks(), static_cast<std::uint32_t>(tasks.size()), 0, layout.data_bytes()};
  for (const PlacedTask& task : tasks) shape.blocks += block_count(task.spec.bytes());
  return shape;
}

std::unique_ptr<ShmWork> make_placed_work(std::shared_ptr<Segment> segment, ShmTeam team, HostLayout layout,
                                          std::vector<PlacedTask> tasks, std::vector<BucketRange> ranges) {
  TUTTI_ASSERT(segment->shape() == placed_shape(layout, tasks), "the segment was made for these buckets");
  return std::make_unique<PlacedWork>(std::move(segment), team, std::move(layout), std::move(tasks), ranges);
}

}  // namespace tutti::worker
