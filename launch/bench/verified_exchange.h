// SPDX-License-Identifier: Apache-2.0
// The one place where the bench uses an Exchange: some buckets of the same size, exchanged one after another with the
// time taken, then checked to the last element. Thread safety: the training thread.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "launch/bench/pattern.h"
#include "worker/exchange.h"
#include "worker/session_impl.h"

namespace tutti::bench {

struct ExchangeSize {
  std::uint64_t bytes = 0;      ///< of a bucket
  std::size_t buckets = 1;      ///< of a batch: exchanged back to back
  bool exchange_memory = true;  ///< in the exchange's own memory, where it has some
};

class VerifiedExchange {
 public:
  /// Collective. A negative tolerance stands for the exchange's own: none where it sums in rank order, else that of
  /// float32 sums. Throws what the Session's calls throw.
  VerifiedExchange(worker::SessionImpl& session, const ExchangeSize& size, double tolerance);
  ~VerifiedExchange();
  VerifiedExchange(const VerifiedExchange&) = delete;
  VerifiedExchange& operator=(const VerifiedExchange&) = delete;

  /// Collective: a batch. Fills the buckets, waits for the other ranks by a small exchange, takes the time of the
  /// batch, checks it. Returns microseconds for one bucket. Throws tutti::Error naming the first wrong element.
  double round();
  /// Whether the buckets lie in memory of the exchange's own.
  bool in_exchange_memory() const noexcept { return in_exchange_memory_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };

  worker::ExchangePlan plan();
  void place_in_own_memory(worker::ExchangePlan& plan);
  std::span<float> values(std::uint32_t bucket) const;
  void exchange(std::uint32_t bucket);
  void verify(const Pattern& pattern, std::uint32_t bucket) const;

  worker::SessionImpl& session_;
  const ExchangeSize size_;
  const std::uint32_t object_;
  const std::unique_ptr<worker::Exchange> exchange_;
  const float tolerance_;
  bool in_exchange_memory_ = false;
  std::unique_ptr<std::byte[], Free> own_;  // where the exchange has no memory to offer, or is not to
  std::vector<std::byte*> memory_;          // of each bucket
  worker::ExchangeId id_;
};

}  // namespace tutti::bench
