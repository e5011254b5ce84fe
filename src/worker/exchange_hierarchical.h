// SPDX-License-Identifier: Apache-2.0
// The exchange in two stages, for hosts of several ranks: the ranks of a host sum in the memory that they share, one of
// them, the leader (local rank 0), takes the host's sum to the leaders of the other hosts, and what comes back is
// everybody's. So a wire carries each bucket once for a host, not once for each of its ranks. Buckets pass through the
// stages one after the other: while one is between the hosts, the next is summed within them.
//
// Sums run in rank order within a host, and in the order of the exchange between hosts after that: the same bits
// whenever the same ranks sit on the same hosts, but not those of one process. bfloat16 and float16 are added in
// float32 within each stage and rounded after each: twice, and a third time by the division that makes an average of
// the whole sum.
//
// A host's sum is made in a place of its own, and what comes back takes its place; the leader makes the result of it in
// its own bucket, which it shares. So every input lies where it was until a whole result is there for it, whoever is
// lost meanwhile (shm_placed.cpp), and what the leader holds for the other hosts is the sum all the time, never an
// average. A new leader pushes its host's sum again, or hands on what its predecessor had shared already. A host that
// has lost all its ranks begins in new memory. Thread safety: as Exchange says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "worker/exchange.h"
#include "worker/exchange_shm.h"

namespace tutti::worker {

class HierarchicalExchange final : public Exchange {
 public:
  struct Options {
    std::string name;              ///< "shm+ps"
    int world_size = 1;            ///< ranks on all hosts: what an average divides by
    bool outlives_losses = false;  ///< so does `between`, where there is one
  };
  /// `within`: made with shares_back. `between`: on the leader the exchange over the leaders, whose ranks are the hosts
  /// and whose rank 0 is this world's; null on every other rank. `clock` outlives the exchange.
  HierarchicalExchange(Options options, std::unique_ptr<ShmExchange> within, std::unique_ptr<Exchange> between,
                       const Clock& clock);

  ExchangeTraits traits() const noexcept override {
    return {.name = options_.name, .in_place = false, .outlives_losses = options_.outlives_losses};
  }
  /// The host's segment. Memory that the exchange between hosts would have is of no use here.
  Result<std::vector<BucketMemory>> place(const ExchangePlan& plan, Deadline deadline) override;
  /// Buckets that lie elsewhere than place() said pass through the host's ring of staging slots, twice.
  Result<> open(ExchangePlan plan, Deadline deadline) override;
  Result<> start(const ExchangeId& id, std::uint32_t bucket) override;
  Result<> poll() override;
  /// Buckets come back in the order of their starts: those before this one are waited for, too. Who waits for others
  /// that wait as well waits a moment longer (kMoment for each stage), so that the rank that knows who is missing tells
  /// it first.
  Result<> wait(std::uint32_t bucket, Deadline deadline) override;
  Result<> finish(Deadline deadline) override;
  void abort(const Failure& cause) noexcept override;
  /// Where the leader of a host is lost, and other hosts have the result that it had not shared, its ranks cannot catch
  /// up.
  Result<> mend(const Succession& succession, Deadline deadline) override;
  Result<> go_on(Deadline deadline) override;
  void take_over(std::uint64_t rounds, const Succession& succession) override;

  static constexpr Duration kMoment = std::chrono::milliseconds(500);

 private:
  bool leads() const noexcept { return between_ != nullptr; }
  /// Sums in both stages: the average is made of the whole.
  static ExchangePlan without_average(ExchangePlan plan);

  // --- a bucket's way: summing_, on the leader travelling_, sharing_; always the first one goes on
  Result<> send_summed();
  Result<> wait_for_sum(Deadline deadline);
  Result<> pass_on();
  Result<> send(std::uint32_t bucket);
  Result<> bring_back(Deadline deadline);
  void make_result(std::uint32_t bucket);
  Result<> share(std::uint32_t bucket);
  Result<> wait_for_share(std::uint32_t bucket, Deadline deadline);
  Result<> from_between(Result<> result);
  Result<> catch_up(const Succession& succession, Deadline deadline);
  Result<> fetch_results(const Succession& succession, Deadline deadline);

  // constant after construction
  const Options options_;
  const std::unique_ptr<ShmExchange> within_;
  const std::unique_ptr<Exchange> between_;  // destroyed first: it works in the memory of the other
  const Clock& clock_;

  // owned by the training thread
  std::vector<BucketSpec> plan_;
  std::vector<std::byte*> memory_;
  std::vector<BucketMemory> sums_;      // of the host, then of all; none where they are made in the buckets
  std::vector<std::byte*> sum_places_;  // of each bucket
  ExchangeId id_;
  std::vector<std::uint32_t> summing_;     // in the order of their starts, which is that of their starts between hosts
  std::vector<std::uint32_t> travelling_;  // between the hosts
  std::vector<std::uint32_t> sharing_;     // the leader's is to be everybody's
};

}  // namespace tutti::worker
