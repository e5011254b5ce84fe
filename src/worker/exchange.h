// SPDX-License-Identifier: Apache-2.0
// worker: from the user's backward to averaged gradients. An Exchange turns the buckets of all ranks into their average
// (or sum, or rank 0's bytes), in place. One Exchange for each DataParallel, so that several in a program never wait
// for each other's order. Thread safety: all verbs on the training thread, but abort(), which any thread may call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/dtype.h"
#include "common/result.h"

namespace tutti::worker {

struct ExchangeTraits {
  std::string_view name;  ///< "ps"
  bool rank_ordered =
      false;  ///< sums run in rank order: equal bits for equal inputs, on every run and in every exchange that says so
  bool adds_in_float = false;     ///< bfloat16 and float16 are added in float32 over all ranks and rounded once
  bool in_place = true;           ///< an exchange that was aborted leaves its input untouched where this is false
  bool cpu = true, cuda = false;  ///< where the buckets may lie
  bool outlives_losses = false;   ///< mend(), go_on() and take_over() work: processes are replaced in mid-exchange
  bool looks_for_nan = false;     ///< not_finite() works
};

/// A part of a bucket: one gradient.
struct BucketRange {
  std::uint32_t bucket = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t bytes = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(bucket, offset_bytes, bytes);
  }
};

/// The buckets of one DataParallel. Equal on all ranks but for `memory`.
struct ExchangePlan {
  std::uint32_t object = 0;  ///< order of construction in the program
  std::uint32_t number = 0;  ///< of the plan: the measured one follows the first
  std::vector<BucketSpec> buckets;
  std::vector<std::byte*> memory;  ///< of each bucket; stays where it is until close or the next open
  /// Ranges whose inputs and results may lie apart from their bucket (spares()), by bucket and offset.
  std::vector<BucketRange> ranges = {};
  /// A result that is not finite is told by not_finite() instead: its bucket then holds anything.
  bool looks_for_nan = false;
};

/// An element of a bucket whose result would not have been finite.
struct NotFinite {
  std::optional<std::uint32_t> rank;  ///< whose input it was; none: only the ranks' sum is too large
  std::uint32_t bucket = 0;
  std::uint64_t element = 0;
};

/// Which exchange this is: a step may hold several (GAN, accumulation without no_sync).
struct ExchangeId {
  std::uint64_t step = 0;
  std::uint16_t index = 0;
};

/// A bucket's bytes, which stay as long as somebody holds them: longer than the exchange that they belong to.
using BucketMemory = std::shared_ptr<std::byte>;

/// Who is new, as exchanges need to know it.
struct Succession {
  bool is_behind = false;                               ///< another rank is done with the exchange that this one is in
  bool lost_a_shard = false;                            ///< of the parameter server
  std::vector<std::uint32_t> new_on_host;               ///< local ranks on this rank's host
  std::optional<std::uint32_t> first_survivor_on_host;  ///< a local rank
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual ExchangeTraits traits() const noexcept = 0;
  /// Where the buckets of `plan` should lie: memory of the exchange's own, one piece for each bucket, which holds
  /// zeros; empty where the caller's memory will do as well. Collective; comes before the open() of the same plan.
  virtual Result<std::vector<BucketMemory>> place(const ExchangePlan& plan, Deadline deadline) {
    (void)plan, (void)deadline;
    return std::vector<BucketMemory>();
  }
  /// After place(): memory beside the buckets, for each range of the plan a piece of its length; none where the
  /// exchange takes its inputs from the buckets only. In exchange, the memory of the ranges in their buckets is given
  /// back to the system: use_bucket() comes before anything is written there.
  virtual std::vector<BucketMemory> spares() { return {}; }
  virtual Result<> use_bucket(std::uint32_t range) { return (void)range, Result<>(); }
  /// From the next start() of its bucket on, the range's input is taken from `where`, and the result is written there:
  /// its own place in the bucket, which it has at first, or any of the spares. REQUIRES: there are spares.
  virtual void lies_at(std::uint32_t range, std::byte* where) { (void)range, (void)where; }
  /// Collective. Agrees on `plan` with the other side; its memory must outlive the Exchange or the next open().
  virtual Result<> open(ExchangePlan plan, Deadline deadline) = 0;
  /// The bucket's memory holds this rank's input: begin. Buckets start in the plan's order, each once for each id.
  /// Never waits.
  virtual Result<> start(const ExchangeId& id, std::uint32_t bucket) = 0;
  /// Does what can be done without waiting. Called from every hook.
  virtual Result<> poll() = 0;
  /// Waits until the bucket, which was started, holds its result.
  virtual Result<> wait(std::uint32_t bucket, Deadline deadline) = 0;
  /// Waits until every bucket that was started holds its result.
  virtual Result<> finish(Deadline deadline) = 0;
  /// In the exchange that finish() has ended, in the order of buckets and elements: the first of each rank in each
  /// block that it is summed in. The same on all ranks. REQUIRES: the plan said looks_for_nan.
  virtual std::vector<NotFinite> not_finite() const { return {}; }
  /// Ends every wait, now and later, with `cause`. Idempotent; a kSuperseded gives way to any other, and ends with
  /// go_on().
  virtual void abort(const Failure& cause) noexcept = 0;

  // --- replacement of lost processes (worker/regroup.h); REQUIRES traits().outlives_losses
  /// For every rank, though a newcomer has not opened anything yet. REQUIRES: nobody works in the exchange, and those
  /// that were lost are gone; newcomers begin when all have mended. Errors: kPeerLost where a rank that is behind
  /// cannot catch up any more.
  virtual Result<> mend(const Succession& succession, Deadline deadline) {
    return (void)succession, (void)deadline, Result<>();
  }
  /// What was started and is not done goes on, as if nothing had been.
  virtual Result<> go_on(Deadline deadline) { return (void)deadline, Result<>(); }
  /// For a newcomer, after its open(): `rounds` exchanges of this plan are over. In the next one it gets the results
  /// that are there already for its input.
  virtual void take_over(std::uint64_t rounds, const Succession& succession) { (void)rounds, (void)succession; }
  /// start(), where the bucket's memory holds the result, which others may lack.
  virtual Result<> hand_on(const ExchangeId& id, std::uint32_t bucket) {
    (void)id, (void)bucket;
    return fail(Errc::kInternal, "this exchange hands no results on");
  }

  /// `f` is called on the training thread, within the verbs above, for each bucket whose result was found to be in
  /// place. An exchange that tells that by events of its own does not call it.
  void on_bucket_done(std::function<void(std::uint32_t bucket)> f) { on_bucket_done_ = std::move(f); }

 protected:
  void tell_done(std::uint32_t bucket) const {
    if (on_bucket_done_) on_bucket_done_(bucket);
  }

 private:
  std::function<void(std::uint32_t bucket)> on_bucket_done_;
};

}  // namespace tutti::worker
