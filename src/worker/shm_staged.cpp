// SPDX-License-Identifier: Apache-2.0
// Buckets are cut into pieces, which are numbered through over all tasks in the order of their starts: equal on all
// ranks. Each rank has a ring of slots in the segment. Piece n is copied into each rank's slot n mod kSlots, summed by
// rank n mod ranks into that rank's slot, and copied out of there by everybody. Two counts of each rank, how many
// pieces it has copied in and out, and a mark for each slot, whose sum is there, are all that the ranks tell each
// other. The ring is small enough to stay in the caches: a tensor's bytes are read from memory once and written once.
#include <algorithm>
#include <cstring>
#include <deque>

#include "common/assert.h"
#include "ps/reduce.h"
#include "worker/shm_work.h"

namespace tutti::worker {
namespace {

constexpr std::uint64_t kSlots = 8;
constexpr std::uint64_t kStagedPieceBytes = 128u << 10;
constexpr std::uint64_t kRingBytes = kSlots * kStagedPieceBytes;

class StagedWork final : public ShmWork {
 public:
  StagedWork(std::shared_ptr<Segment> segment, ShmTeam team, std::vector<StagedTask> tasks)
      : segment_(std::move(segment)), team_(team), next_sum_(team.rank), inputs_(team.ranks) {
    for (const StagedTask& task : tasks) tasks_.push_back({task, 0});
  }

  void start(std::uint32_t number) override {
    TUTTI_ASSERT(is_done(number), "a task is started again after its result is there");
    Task& task = tasks_[number];
    const std::uint64_t total = task.what.spec.bytes();
    for (std::uint64_t offset = 0; offset < total; offset += kStagedPieceBytes) {
      pieces_.push_back({number, task.what.memory + offset, std::min(kStagedPieceBytes, total - offset)});
      ++task.left;
    }
  }

  // A piece of each at a time, so that what was copied in is summed and copied out while it is in the cache.
  bool advance() override {
    bool worked = false;
    while (true) {
      const bool in = copy_in(), sum = sum_up(), out = copy_out();
      if (!in && !sum && !out) break;
      worked = true;
    }
    if (worked) segment_->wake_all();
    return worked;
  }

  bool is_done(std::uint32_t task) const override { return tasks_[task].left == 0; }

  std::vector<NotFinite> not_finite() const override { return {}; }

  void lies_at(std::uint32_t, std::byte*) override { TUTTI_ASSERT(false, "staged buckets have no spares"); }

  // What is staged is exchanged before the first step, when all begin again after a loss.
  void expect_newcomers(std::uint64_t) override { TUTTI_ASSERT(false, "staged buckets have no newcomers"); }
  void mend(std::span<const std::uint32_t>) override { TUTTI_ASSERT(false, "staged buckets are not mended"); }
  void take_over(std::uint64_t, bool) override { TUTTI_ASSERT(false, "staged buckets are not taken over"); }
  bool has_source(std::uint32_t, std::uint64_t) const override { return false; }

  std::optional<std::uint32_t> waits_for(std::uint32_t) const override {
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      if (copied_in_by(rank) < copied_in_ || copied_out_by(rank) < copied_out_) return rank;
    }
    return std::nullopt;
  }

 private:
  struct Task {
    StagedTask what;
    std::uint64_t left;  // pieces without their result
  };
  struct Piece {
    std::uint32_t task;
    std::byte* memory;
    std::uint64_t bytes;
  };

  const Piece& piece(std::uint64_t number) const { return pieces_[number - copied_out_]; }
  std::uint64_t started() const { return copied_out_ + pieces_.size(); }
  const BucketSpec& spec_of(std::uint64_t number) const { return tasks_[piece(number).task].what.spec; }
  bool is_shared(std::uint64_t number) const { return spec_of(number).reduction == Reduction::kBroadcast; }
  std::byte* slot(std::uint32_t rank, std::uint64_t number) const {
    return segment_->data().data() + rank * kRingBytes + number % kSlots * kStagedPieceBytes;
  }
  std::uint64_t copied_in_by(std::uint32_t rank) const { return segment_->ready(rank, 0); }
  std::uint64_t copied_out_by(std::uint32_t rank) const { return segment_->ready(rank, 1); }
  template <class Count>
  bool all_ranks(Count count, std::uint64_t beyond) const {
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      if ((this->*count)(rank) <= beyond) return false;
    }
    return true;
  }

  bool copy_in() {
    const std::uint64_t number = copied_in_;
    if (number == started()) return false;
    // The piece that lay in the slot before was copied out by everybody.
    if (number >= kSlots && !all_ranks(&StagedWork::copied_out_by, number - kSlots)) return false;
    const bool brings_input = !is_shared(number) || team_.rank == 0;
    if (brings_input) std::memcpy(slot(team_.rank, number), piece(number).memory, piece(number).bytes);
    segment_->mark_ready(team_.rank, 0, ++copied_in_);
    return true;
  }

  bool sum_up() {
    const std::uint64_t number = next_sum_;
    if (number >= copied_in_ || !all_ranks(&StagedWork::copied_in_by, number)) return false;
    next_sum_ += team_.ranks;
    if (is_shared(number)) return true;
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) inputs_[rank] = slot(rank, number);
    ps::reduce(spec_of(number).dtype, spec_of(number).reduction, inputs_,
               {slot(team_.rank, number), piece(number).bytes});
    segment_->set_done(number % kSlots, number + 1);
    return true;
  }

  bool copy_out() {
    const std::uint64_t number = copied_out_;
    if (number == copied_in_) return false;
    const bool is_there = is_shared(number) ? copied_in_by(0) > number : segment_->done(number % kSlots) == number + 1;
    // What this rank has to sum, it sums before it lets go of the piece.
    if (!is_there || next_sum_ <= number) return false;
    const Piece& whole = piece(number);
    const std::uint32_t owner = is_shared(number) ? 0 : static_cast<std::uint32_t>(number % team_.ranks);
    const bool has_it = is_shared(number) && team_.rank == 0;
    if (!has_it) std::memcpy(whole.memory, slot(owner, number), whole.bytes);
    --tasks_[whole.task].left;
    pieces_.pop_front();
    segment_->mark_ready(team_.rank, 1, ++copied_out_);
    return true;
  }

  const std::shared_ptr<Segment> segment_;
  const ShmTeam team_;
  std::vector<Task> tasks_;
  std::deque<Piece> pieces_;  // started and not copied out
  std::uint64_t copied_in_ = 0, copied_out_ = 0;
  std::uint64_t next_sum_;  // the next piece that is this rank's to sum
  std::vector<const std::byte*> inputs_;
};

}  // namespace

SegmentShape staged_shape(std::uint32_t ranks) {
  return {ranks, /*buckets=*/2, /*blocks=*/kSlots, ranks * kRingBytes};
}

std::unique_ptr<ShmWork> make_staged_work(std::shared_ptr<Segment> segment, ShmTeam team,
                                          std::vector<StagedTask> tasks) {
  TUTTI_ASSERT(segment->shape() == staged_shape(team.ranks), "the segment was made for a ring of each rank");
  return std::make_unique<StagedWork>(std::move(segment), team, std::move(tasks));
}

}  // namespace tutti::worker
