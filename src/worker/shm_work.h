// SPDX-License-Identifier: Apache-2.0
// How the ranks of one host reduce buckets together in the segment they share. A task is one bucket and what is to be
// done with it; all ranks have the same tasks and start them in the same order. Whoever has time advances the work, on
// its training thread: nothing here waits.
//
// Two ways. In place: the buckets lie in the segment; a task's blocks are claimed one by one once all ranks have
// started it, and the claimant sums the block over all ranks' buckets and writes the result into all of them. Staged:
// the buckets lie anywhere; their pieces pass through a small ring in the segment that stays in the caches. Thread
// safety: one thread of each process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/dtype.h"
#include "common/host_layout.h"
#include "common/segment.h"
#include "worker/exchange.h"

namespace tutti::worker {

/// This process among those that share the segment.
struct ShmTeam {
  std::uint32_t rank = 0, ranks = 1;
};

class ShmWork {
 public:
  virtual ~ShmWork() = default;
  /// This rank's input to the task is in place. REQUIRES: the task's round before is done.
  virtual void start(std::uint32_t task) = 0;
  /// Does what can be done now; false where that was nothing.
  virtual bool advance() = 0;
  /// The result of the task, which was started, is in this rank's bucket.
  virtual bool is_done(std::uint32_t task) const = 0;
  /// Of the tasks' last rounds, which are done (Exchange::not_finite).
  virtual std::vector<NotFinite> not_finite() const = 0;
  /// This rank's input to the range lies there, and its result is to. REQUIRES: the work has ranges, its task is done.
  virtual void lies_at(std::uint32_t range, std::byte* where) = 0;
  /// Newcomers begin after so many rounds of each task. Of the next round they take the blocks that are done from the
  /// others' buckets: so this rank is not done with that round before all have started it.
  virtual void expect_newcomers(std::uint64_t rounds) = 0;
  /// After that, on one rank: these ranks are gone, in the middle of whatever they did, and nobody else works. Makes
  /// everything that is left as if each had stopped before it started its tasks. Results that are whole stay, in
  /// everybody's bucket.
  virtual void mend(std::span<const std::uint32_t> lost) = 0;
  /// This rank is such a newcomer; `is_new_memory`: so are all, in a segment that was made for them.
  virtual void take_over(std::uint64_t rounds, bool is_new_memory) = 0;
  /// Rank 0 has started the task in this round, or all of it is done.
  virtual bool has_source(std::uint32_t task, std::uint64_t round) const = 0;
  /// A rank that has not started the task, in its round of this rank's.
  virtual std::optional<std::uint32_t> waits_for(std::uint32_t task) const = 0;
};

/// Buckets in place: `tasks` may name a bucket twice (sum it, later share rank 0's). Each of `ranges`, ordered by
/// bucket and offset, has a spare piece in the layout and may lie apart from its bucket.
struct PlacedTask {
  std::uint32_t bucket = 0;
  BucketSpec spec;
  bool looks_for_nan = false;  ///< a block whose result is not finite is left as it is, and told
  /// The sum lies apart, behind the last rank's buckets, and all inputs stay until rank 0 has made a result of it in
  /// its own bucket, which this task shares.
  std::optional<std::uint32_t> shared_by = std::nullopt;
};
/// `layout` has a region for each rank, and one more for sums that lie apart.
SegmentShape placed_shape(const HostLayout& layout, std::span<const PlacedTask> tasks);
/// REQUIRES: the segment has placed_shape().
std::unique_ptr<ShmWork> make_placed_work(std::shared_ptr<Segment> segment, ShmTeam team, HostLayout layout,
                                          std::vector<PlacedTask> tasks, std::vector<BucketRange> ranges);

/// Buckets anywhere, one task for each; nobody looks for what is not finite. `memory` outlives the work.
struct StagedTask {
  BucketSpec spec;
  std::byte* memory = nullptr;
};
SegmentShape staged_shape(std::uint32_t ranks);
/// REQUIRES: the segment has staged_shape().
std::unique_ptr<ShmWork> make_staged_work(std::shared_ptr<Segment> segment, ShmTeam team,
                                          std::vector<StagedTask> tasks);

}  // namespace tutti::worker
