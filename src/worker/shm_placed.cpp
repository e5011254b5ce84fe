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
#include <algorithm>
#include <cstring>

#include "common/assert.h"
#include "ps/finite.h"
#include "ps/reduce.h"
#include "worker/shm_work.h"

namespace tutti::worker {
namespace {

/// A word about a rank's input to a block: the element, and whether it is the input that is not finite there, or only
/// the sum. 0: nothing.
struct Finding {
  std::uint32_t element = 0;
  bool is_own = false;

  std::uint32_t word() const { return (element + 1) << 1 | (is_own ? 1 : 0); }
  static std::optional<Finding> of(std::uint32_t word) {
    if (word == 0) return std::nullopt;
    return Finding{(word >> 1) - 1, (word & 1) != 0};
  }
};

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
    is_share_.resize(tasks_.size());
    for (const Task& task : tasks_) {
      if (task.what.shared_by) is_share_[*task.what.shared_by] = true;
    }
    for (const BucketRange& range : ranges) {
      const auto number = static_cast<std::uint32_t>(ranges_.size());
      ranges_.push_back({range, number});
      table(team_.rank)[number] = layout_.offset(team_.rank, range.bucket) + range.offset_bytes;
    }
  }

  void start(std::uint32_t task) override {
    TUTTI_ASSERT(is_done(task), "a task is started again after its result is there");
    if (++tasks_[task].round == shared_round_) fetch_results(task);
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
    const std::uint64_t round = tasks_[task].round;
    return is_complete(task, round) && (round != shared_round_ || !waits_for(task));
  }

  std::vector<NotFinite> not_finite() const override {
    std::vector<NotFinite> found;
    for (const Task& task : tasks_) {
      for (std::uint32_t block = 0; task.what.looks_for_nan && block < task.blocks; ++block) {
        if (mark_of(task, block).has_finding) read_findings(task, block, found);
      }
    }
    return found;
  }

  void lies_at(std::uint32_t range, std::byte* where) override {
    table(team_.rank)[range] = static_cast<std::uint64_t>(where - segment_->data().data());
  }

  void expect_newcomers(std::uint64_t rounds) override { shared_round_ = rounds + 1; }

  void mend(std::span<const std::uint32_t> lost) override {
    for (std::uint32_t number = 0; number < tasks_.size(); ++number) {
      if (is_share_[number]) continue;
      if (const auto share = tasks_[number].what.shared_by)
        mend(number, *share, lost);
      else
        mend(number, lost);
    }
    for (const std::uint32_t rank : lost) {
      for (std::uint32_t number = 0; number < tasks_.size(); ++number)
        segment_->mark_ready(rank, number, shared_round_ - 1);
    }
    segment_->wake_all();
  }

  void take_over(std::uint64_t rounds, bool is_new_memory) override {
    expect_newcomers(rounds);
    for (std::uint32_t number = 0; number < tasks_.size(); ++number) {
      tasks_[number].round = rounds;
      // Each of the newcomers writes the same; none can begin before all have.
      if (is_new_memory) set_finished(number, rounds, 0);
    }
  }

  bool has_source(std::uint32_t task, std::uint64_t round) const override {
    return segment_->ready(0, task) >= round || is_complete(task, round);
  }

  std::optional<std::uint32_t> waits_for(std::uint32_t task) const override {
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      if (segment_->ready(rank, task) < tasks_[task].round) return rank;
    }
    return std::nullopt;
  }

 private:
  /// What a block's done mark says.
  struct Mark {
    static constexpr int kRankBits = 12;

    std::uint64_t round = 0;
    bool has_finding = false;
    std::uint32_t summed_by = 0;

    std::uint64_t word() const {
      return round << (kRankBits + 1) | std::uint64_t{has_finding} << kRankBits | summed_by;
    }
    static Mark of(std::uint64_t word) {
      return {word >> (kRankBits + 1), (word >> kRankBits & 1) != 0,
              static_cast<std::uint32_t>(word & ((std::uint64_t{1} << kRankBits) - 1))};
    }
  };

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
    findings_.assign(team_.ranks, 0);
    bool is_whole = true;
    for_each_part(task.what.bucket, range.offset, end,
                  [&](std::uint64_t begin, std::uint64_t bytes, const Range* part) {
                    find_places(task.what.bucket, begin, part);
                    if (task.what.spec.reduction == Reduction::kBroadcast) return;
                    inputs_.assign(places_.begin(), places_.end());
                    std::byte* const into = task.what.shared_by ? apart(task.what.bucket, begin) : places_[team_.rank];
                    is_whole = sum(task.what, begin - range.offset, {into, bytes}) && is_whole;
                  });
    if (!is_whole) write_findings(task, block);
    segment_->set_done(task.first_block + block, Mark{task.round, !is_whole, team_.rank}.word());
    if (is_whole && !task.what.shared_by) spread(task, block, team_.rank);
  }

  /// Of the inputs, which begin so far into their block. False: the sum is not finite.
  bool sum(const PlacedTask& what, std::uint64_t begin, std::span<std::byte> into) {
    const BucketSpec& spec = what.spec;
    if (!what.looks_for_nan) {
      ps::reduce(spec.dtype, spec.reduction, inputs_, into);
      return true;
    }
    const std::size_t summed = ps::reduce_while_finite(spec.dtype, spec.reduction, inputs_, into);
    if (summed == into.size() / size_of(spec.dtype)) return true;
    look_closer(spec, begin / size_of(spec.dtype), summed, into.size() / size_of(spec.dtype));
    return false;
  }

  /// Whose input it is that makes the sum of elements `first` to `end` not finite, where it begins.
  void look_closer(const BucketSpec& spec, std::size_t begin, std::size_t first, std::size_t end) {
    const std::size_t size = size_of(spec.dtype);
    const auto note = [&](std::uint32_t rank, std::size_t element, bool is_own) {
      if (findings_[rank] == 0) findings_[rank] = Finding{static_cast<std::uint32_t>(begin + element), is_own}.word();
    };
    bool is_someones = false;
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      const auto found = ps::first_not_finite(spec.dtype, inputs_[rank] + first * size, end - first);
      if (!found) continue;
      is_someones = true;
      note(rank, first + *found, /*is_own=*/true);
    }
    if (!is_someones) note(0, first_too_large(spec, first), /*is_own=*/false);
  }

  /// The sum stopped at `first` because of one of the next few elements.
  std::size_t first_too_large(const BucketSpec& spec, std::size_t first) const {
    const std::size_t size = size_of(spec.dtype);
    for (;; ++first) {
      std::vector<const std::byte*> one;
      for (const std::byte* const input : inputs_) one.push_back(input + first * size);
      std::byte sum[sizeof(double)];
      if (ps::reduce_while_finite(spec.dtype, spec.reduction, one, {sum, size}) == 0) return first;
    }
  }

  std::uint32_t& finding(std::uint32_t rank, const Task& task, std::uint32_t block) const {
    const std::uint64_t at = layout_.finding(rank, task.what.bucket, block);
    return *reinterpret_cast<std::uint32_t*>(segment_->data().data() + at);
  }

  void write_findings(const Task& task, std::uint32_t block) const {
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) finding(rank, task, block) = findings_[rank];
  }

  void read_findings(const Task& task, std::uint32_t block, std::vector<NotFinite>& found) const {
    const std::uint64_t begin = block * (HostLayout::kBlockBytes / size_of(task.what.spec.dtype));
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      const auto told = Finding::of(finding(rank, task, block));
      if (!told) continue;
      found.push_back({told->is_own ? std::optional(rank) : std::nullopt, task.what.bucket, begin + told->element});
    }
  }

  /// Copies the result of a block from who summed it to the others.
  void spread(const Task& task, std::uint32_t block, std::uint32_t summed_by) {
    const BlockRange range(block, task.what.spec.bytes());
    for_each_part(task.what.bucket, range.offset, range.offset + range.bytes,
                  [&](std::uint64_t begin, std::uint64_t bytes, const Range* part) {
                    find_places(task.what.bucket, begin, part);
                    const bool shares = task.what.spec.reduction == Reduction::kBroadcast;
                    const std::byte* const source = places_[shares ? 0 : summed_by];
                    for (std::byte* const place : places_) {
                      if (place != source) std::memcpy(place, source, bytes);
                    }
                  });
  }

  bool is_block_done(const Task& task, std::uint32_t block, std::uint64_t round) const {
    return mark_of(task, block).round == round;
  }

  Mark mark_of(const Task& task, std::uint32_t block) const {
    return Mark::of(segment_->done(task.first_block + block));
  }

  bool is_complete(std::uint32_t number, std::uint64_t round) const {
    return segment_->finished(number) >= round * tasks_[number].blocks;
  }

  /// The round after `rounds` may be worked on, of which so many blocks are done.
  void set_finished(std::uint32_t number, std::uint64_t rounds, std::uint32_t blocks) {
    segment_->resume(number, rounds + 1, rounds * tasks_[number].blocks + blocks);
  }

  bool has_started(std::uint32_t rank, std::uint32_t number, std::uint64_t round) const {
    return segment_->ready(rank, number) >= round;
  }

  /// A rank that has the results of the task in this round.
  std::optional<std::uint32_t> holder_of(std::uint32_t number, std::uint64_t round,
                                         std::span<const std::uint32_t> without) const {
    for (std::uint32_t rank = 0; rank < team_.ranks; ++rank) {
      if (!is_in(without, rank) && has_started(rank, number, round)) return rank;
    }
    return std::nullopt;
  }

  static bool is_in(std::span<const std::uint32_t> ranks, std::uint32_t rank) {
    return std::ranges::find(ranks, rank) != ranks.end();
  }

  void mend(std::uint32_t number, std::span<const std::uint32_t> lost) {
    const auto holder = holder_of(number, shared_round_, lost);
    if (!holder) return forget(number);
    if (is_complete(number, shared_round_)) return;
    const Task& task = tasks_[number];
    count_done(number, [&](std::uint32_t block) {
      const Mark mark = mark_of(task, block);
      if (mark.has_finding) return;
      spread(task, block, mark.summed_by);
      segment_->set_done(task.first_block + block, Mark{shared_round_, false, *holder}.word());
    });
  }

  /// A sum that lies apart, and what shares its result.
  void mend(std::uint32_t sum, std::uint32_t share, std::span<const std::uint32_t> lost) {
    share_what_is_whole(sum, share, lost);
    const bool is_lost = !holder_of(sum, shared_round_, lost);
    if (is_lost) forget(share);
    const bool is_rank_0s = is_complete(sum, shared_round_) && !is_complete(share, shared_round_);
    if (is_lost || (is_rank_0s && is_in(lost, 0))) return forget(sum);
    if (!is_complete(sum, shared_round_)) count_done(sum, [](std::uint32_t) {});
  }

  /// What rank 0 has shared, or begun to, becomes the result of every rank that has started the sum (or has nothing to
  /// sum): for it, rank 0 need not live. Newcomers find it there.
  void share_what_is_whole(std::uint32_t sum, std::uint32_t share, std::span<const std::uint32_t> lost) {
    const Task& task = tasks_[share];
    if (task.blocks == 0) return;
    std::uint64_t round = segment_->finished(share) / task.blocks;
    auto source = holder_of(share, round, {});  // who is lost has it until its successor begins
    const bool is_begun = has_started(0, share, round + 1);
    if (is_begun) {
      ++round;
      source = 0;
    }
    for (std::uint32_t rank = 0; source && rank < team_.ranks; ++rank) {
      const bool has_it = has_started(rank, share, round) && !is_begun;
      const bool takes_part = has_started(rank, sum, round) || tasks_[sum].blocks == 0;
      if (is_in(lost, rank) || has_it || !takes_part || has_started(rank, sum, round + 1)) continue;
      for (std::uint32_t block = 0; block < task.blocks; ++block) copy_block(task, block, *source, rank);
      if (has_started(rank, sum, round)) segment_->mark_ready(rank, share, round);
    }
    if (!is_begun) return;
    for (std::uint32_t block = 0; block < task.blocks; ++block)
      segment_->set_done(task.first_block + block, Mark{round, false, 0}.word());
    set_finished(share, round, 0);
  }

  /// Nobody is left who has a part in it: all of the round is done again.
  void forget(std::uint32_t number) {
    const Task& task = tasks_[number];
    for (std::uint32_t block = 0; block < task.blocks; ++block) {
      if (is_block_done(task, block, shared_round_))
        segment_->set_done(task.first_block + block, Mark{shared_round_ - 1, false, 0}.word());
    }
    set_finished(number, shared_round_ - 1, 0);
  }

  /// `f` is called for each block of the round that is done; the others may be claimed anew.
  template <class F>
  void count_done(std::uint32_t number, F f) {
    std::uint32_t done = 0;
    for (std::uint32_t block = 0; block < tasks_[number].blocks; ++block) {
      if (!is_block_done(tasks_[number], block, shared_round_)) continue;
      ++done;
      f(block);
    }
    set_finished(number, shared_round_ - 1, done);
  }

  void fetch_results(std::uint32_t number) {
    const Task& task = tasks_[number];
    const auto holder = holder_of(number, task.round, {&team_.rank, 1});
    if (!holder || task.what.shared_by) return;
    for (std::uint32_t block = 0; block < task.blocks; ++block) {
      if (is_block_done(task, block, task.round)) copy_block(task, block, *holder, team_.rank);
    }
  }

  void copy_block(const Task& task, std::uint32_t block, std::uint32_t from, std::uint32_t to) {
    if (from == to) return;
    const BlockRange range(block, task.what.spec.bytes());
    for_each_part(task.what.bucket, range.offset, range.offset + range.bytes,
                  [&](std::uint64_t begin, std::uint64_t bytes, const Range* part) {
                    find_places(task.what.bucket, begin, part);
                    std::memcpy(places_[to], places_[from], bytes);
                  });
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

  std::byte* apart(std::uint32_t bucket, std::uint64_t offset) const {
    return segment_->data().data() + layout_.offset(team_.ranks, bucket) + offset;
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
  std::vector<std::uint32_t> findings_;  // about the block in hand, by rank
  std::vector<bool> is_share_;           // by task: of a sum that lies apart
  std::uint64_t shared_round_ = 0;       // the newest that newcomers have begun with; 0: there were none
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
