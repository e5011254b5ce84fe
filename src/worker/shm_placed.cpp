// SPDX-License-Identifier: Apache-2.0
// A claimed block is summed into the claimant's own bucket, marked, then copied to the others. So the only copy of an
// input is never destroyed before the result is whole: a claimant that dies before the mark has spoiled nothing but its
// own input, which its replacement computes again; after the mark the result is in the segment, which outlives it. The
// mark names the claimant: there the result is, should the copies not have been made.
//
// Where sums go on to other hosts they are made in a place of their own, and every input stays where it is until rank 0
// has the result and shares it. Rank 0 may then be at any point of making the one out of the other: if it is lost, the
// sum is made again, from inputs that are all there or computed again. Once it has begun to share, its bucket holds the
// result, which outlives it, too.
//
// A newcomer writes its input over the results that its predecessor had. So what is whole is marked as that of a rank
// that has started the round and lives, and that rank does not leave the round before the newcomer has started it.
//
// Who sums a block also sees whether the result is finite, while it is in a register: nobody reads the gradients once
// more for that. It stops in front of one that is not, when every rank's input is still there, and writes down for each
// rank where in the block its first bad element lies; the mark then says that there is something to read. Such a block
// stays unfinished: nobody wants its result. All ranks find the same in the marks, once all blocks are done.
#include "common/assert.h"
#include "ps/reduce.h"
#include "worker/shm_findings.h"
#include "worker/shm_mend.h"
#include "worker/shm_places.h"
#include "worker/shm_rounds.h"
#include "worker/shm_work.h"

namespace tutti::worker {
namespace {

class PlacedWork final : public ShmWork {
 public:
  PlacedWork(std::shared_ptr<Segment> segment, ShmTeam team, HostLayout layout, const std::vector<PlacedTask>& tasks,
             const std::vector<BucketRange>& ranges)
      : segment_(std::move(segment)),
        team_(team),
        rounds_(segment_, team_.ranks, tasks),
        places_(segment_, std::move(layout), team_.ranks, team_.rank, ranges),
        findings_(team_.ranks) {}

  void start(std::uint32_t task) override {
    TUTTI_ASSERT(is_done(task), "a task is started again after its result is there");
    if (++rounds_[task].round == shared_round_) fetch_results(task);
    segment_->set_ready(team_.rank, task, rounds_[task].round);
    active_.push_back(task);
  }

  bool advance() override {
    bool worked = false;
    for (const std::uint32_t task : active_) worked = work_on(task) || worked;
    std::erase_if(active_, [this](std::uint32_t task) { return is_done(task); });
    return worked;
  }

  bool is_done(std::uint32_t task) const override {
    const std::uint64_t round = rounds_[task].round;
    return rounds_.is_complete(task, round) && (round != shared_round_ || !waits_for(task));
  }

  std::vector<NotFinite> not_finite() const override {
    std::vector<NotFinite> found;
    for (std::uint32_t task = 0; task < rounds_.size(); ++task) {
      const PlacedTask& what = rounds_[task].what;
      for (std::uint32_t block = 0; what.looks_for_nan && block < rounds_[task].blocks; ++block) {
        if (rounds_.mark(task, block).has_finding) findings_.read(places_, what, block, found);
      }
    }
    return found;
  }

  void lies_at(std::uint32_t range, std::byte* where) override { places_.lies_at(range, where); }

  void expect_newcomers(std::uint64_t rounds) override { shared_round_ = rounds + 1; }

  void mend(std::span<const std::uint32_t> lost) override {
    ShmMender mender(rounds_, places_, team_.ranks, shared_round_, lost);
    for (std::uint32_t task = 0; task < rounds_.size(); ++task) {
      if (rounds_.is_share(task)) continue;
      if (const auto share = rounds_[task].what.shared_by)
        mender.mend_apart(task, *share);
      else
        mender.mend(task);
    }
    for (const std::uint32_t rank : lost) {
      for (std::uint32_t task = 0; task < rounds_.size(); ++task) rounds_.mark_started(rank, task, shared_round_ - 1);
    }
    segment_->wake_all();
  }

  void take_over(std::uint64_t rounds, bool is_new_memory) override {
    expect_newcomers(rounds);
    for (std::uint32_t task = 0; task < rounds_.size(); ++task) {
      rounds_[task].round = rounds;
      // Each of the newcomers writes the same; none can begin before all have.
      if (is_new_memory) rounds_.set_finished(task, rounds, 0);
    }
  }

  bool has_source(std::uint32_t task, std::uint64_t round) const override {
    return rounds_.has_started(0, task, round) || rounds_.is_complete(task, round);
  }

  std::optional<std::uint32_t> waits_for(std::uint32_t task) const override {
    return rounds_.waits_for(task, rounds_[task].round);
  }

 private:
  bool work_on(std::uint32_t number) {
    const ShmTask& task = rounds_[number];
    if (waits_for(number)) return false;
    bool worked = false;
    while (const auto block = segment_->claim(number, task.round, task.blocks)) {
      if (rounds_.is_block_done(number, *block, task.round)) continue;  // before a rank was replaced
      worked = true;
      complete(number, *block);
      if (segment_->finish(number) == task.round * task.blocks) segment_->wake_all();
    }
    return worked;
  }

  void complete(std::uint32_t number, std::uint32_t block) {
    const ShmTask& task = rounds_[number];
    const PlacedTask& what = task.what;
    const BlockRange range = task.range(block);
    TUTTI_ASSERT(range.bytes > 0, "a block holds something");
    const bool shares = what.spec.reduction == Reduction::kBroadcast;
    const bool is_whole = shares || sum(what, range);
    if (!is_whole) findings_.write(places_, what.bucket, block);
    rounds_.set_mark(number, block, {task.round, !is_whole, team_.rank});
    if (is_whole && !what.shared_by) places_.copy_to_all(what.bucket, range, shares ? 0 : team_.rank);
  }

  /// False: the sum is not finite.
  bool sum(const PlacedTask& what, const BlockRange& range) {
    bool is_whole = true;
    findings_.begin_block();
    places_.for_each_part(
        what.bucket, range, [&](std::uint64_t begin, std::uint64_t bytes, std::span<std::byte* const> places) {
          inputs_.assign(places.begin(), places.end());
          std::byte* const into = what.shared_by ? places_.apart(what.bucket, begin) : places[team_.rank];
          is_whole = sum(what, begin - range.offset, {into, bytes}) && is_whole;
        });
    return is_whole;
  }

  /// Of the inputs, which begin so far into their block.
  bool sum(const PlacedTask& what, std::uint64_t begin, std::span<std::byte> into) {
    if (what.looks_for_nan) return findings_.sum(what.spec, begin, inputs_, into);
    ps::reduce(what.spec.dtype, what.spec.reduction, inputs_, into);
    return true;
  }

  void fetch_results(std::uint32_t number) {
    const ShmTask& task = rounds_[number];
    if (rounds_.has_started(team_.rank, number, task.round)) return;  // it has them: who mended has put them there
    const auto holder = rounds_.holder_of(number, task.round, {&team_.rank, 1});
    if (!holder || task.what.shared_by) return;
    for (std::uint32_t block = 0; block < task.blocks; ++block) {
      if (rounds_.is_block_done(number, block, task.round))
        places_.copy(task.what.bucket, task.range(block), *holder, team_.rank);
    }
  }

  const std::shared_ptr<Segment> segment_;
  const ShmTeam team_;
  ShmRounds rounds_;
  ShmPlaces places_;
  ShmFindings findings_;
  std::vector<std::uint32_t> active_;     // started and not done, in the order of their starts
  std::vector<const std::byte*> inputs_;  // of the part in hand, by rank
  std::uint64_t shared_round_ = 0;        // the newest that newcomers have begun with; 0: there were none
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
  return std::make_unique<PlacedWork>(std::move(segment), team, std::move(layout), tasks, ranges);
}

}  // namespace tutti::worker
