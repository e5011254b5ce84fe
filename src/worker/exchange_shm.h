// SPDX-License-Identifier: Apache-2.0
// The exchange of ranks that share a host's memory: sums run in rank order, straight from bucket to bucket, on the
// training threads of whichever ranks have time. A wait works where it can, then spins for a moment, then sleeps.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/host_layout.h"
#include "worker/exchange.h"
#include "worker/shm_work.h"

namespace tutti::worker {

struct ShmOptions {
  std::string keeper;        ///< of the host's shared memory (common/host_memory.h)
  ShmTeam team;              ///< this rank among those of its host
  std::string host;          ///< for messages
  bool has_cores = true;     ///< every rank of the host has a core to itself: a short spin costs nobody anything
  bool shares_back = false;  ///< a sum is nobody's until rank 0 has made a result of it, and start_share()
};

class ShmExchange final : public Exchange {
 public:
  /// `clock` outlives the exchange.
  ShmExchange(ShmOptions options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  ExchangeTraits traits() const noexcept override {
    return {.name = "shm",
            .rank_ordered = true,
            .adds_in_float = true,
            .in_place = false,
            .outlives_losses = true,
            .looks_for_nan = true};
  }
  /// The host's segment, which is made for exactly these buckets.
  Result<std::vector<BucketMemory>> place(const ExchangePlan& plan, Deadline deadline) override;
  /// Buckets that lie elsewhere than place() said pass through a ring of staging slots.
  Result<> open(ExchangePlan plan, Deadline deadline) override;
  std::vector<BucketMemory> spares() override;
  Result<> use_bucket(std::uint32_t range) override;
  void lies_at(std::uint32_t range, std::byte* where) override { work_->lies_at(range, where); }
  Result<> start(const ExchangeId& id, std::uint32_t bucket) override;
  Result<> poll() override;
  Result<> wait(std::uint32_t bucket, Deadline deadline) override;
  Result<> finish(Deadline deadline) override;
  std::vector<NotFinite> not_finite() const override { return work_->not_finite(); }
  void abort(const Failure& cause) noexcept override;
  Result<> mend(const Succession& succession, Deadline deadline) override;
  Result<> go_on(Deadline deadline) override;
  void take_over(std::uint64_t rounds, const Succession& succession) override;

  // --- the second half of an exchange between hosts
  /// Where the sums of the open plan lie, which stay until the next exchange: one piece for each bucket, beside it;
  /// none where they lie in the buckets. A bucket that is rank 0's is not summed.
  std::vector<BucketMemory> sums() const;
  /// Local rank 0's bucket is to be everybody's. REQUIRES: shares_back, the sum of this bucket is done; all ranks begin
  /// their sums and shares in the same order.
  Result<> start_share(std::uint32_t bucket);
  Result<> wait_share(std::uint32_t bucket, Deadline deadline);
  /// Local rank 0 has shared the bucket in the exchange that is under way, though it be lost since: the sum's place
  /// then holds what the result was made of.
  bool is_shared(std::uint32_t bucket) const;
  /// The bucket was started in the exchange that is under way.
  bool has_begun(std::uint32_t bucket) const;
  /// finish() in two parts, for who has something to do between them: the wait, and that the exchange is over.
  Result<> wait_for_all(Deadline deadline);
  void end_exchange();
  /// Whether the sum of the bucket, which was started, is there. Never waits.
  bool is_summed(std::uint32_t bucket) const { return work_->is_done(bucket); }
  /// Waits for that until `moment`, for who has something else to look after.
  Result<bool> is_summed_by(std::uint32_t bucket, Deadline moment) { return is_done_by(bucket, moment); }

 private:
  Result<> obtain(const ExchangePlan& plan, const SegmentShape& shape, Deadline deadline);
  HostLayout layout_of(const ExchangePlan& plan) const;
  bool is_placed() const { return placed_ && placed_->number == plan_.number; }
  std::uint32_t share_of(std::uint32_t bucket) const;
  /// What is summed within the host of a bucket.
  BucketSpec summed(BucketSpec bucket) const;
  std::vector<PlacedTask> placed_tasks(const ExchangePlan& plan) const;
  Result<> start_task(std::uint32_t task);
  bool advance();
  void tell_finished_tasks();
  Result<bool> is_done_by(std::uint32_t task, Deadline moment);
  Result<> await(std::uint32_t task, Deadline deadline);
  Failure late(std::uint32_t task) const;
  Result<> not_aborted() const;

  // constant after construction
  const ShmOptions options_;
  const Clock& clock_;

  // owned by the training thread
  ExchangePlan plan_;
  ExchangeId id_;
  std::optional<ExchangePlan> placed_;  // what the segment was made for
  std::optional<HostLayout> layout_;    // of it
  std::unique_ptr<ShmWork> work_;
  std::vector<std::uint32_t> started_;  // and not waited for
  std::vector<std::uint32_t> begun_;    // in the exchange that is under way
  std::deque<std::uint32_t> untold_;    // started, and not yet told to be done: always in the order of the starts
  std::uint64_t exchanges_ = 0;         // of this plan that are over

  std::atomic<bool> aborted_ = false;
  mutable std::mutex mutex_;
  std::shared_ptr<Segment> segment_;  // changed by the training thread under mutex_, woken by abort()
  std::optional<Failure> cause_;      // guarded by mutex_
};

}  // namespace tutti::worker
