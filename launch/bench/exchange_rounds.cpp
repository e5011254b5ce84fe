// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/exchange_rounds.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "launch/bench/pattern.h"
#include "launch/bench/rounds.h"
#include "tutti/error.h"
#include "worker/exchange.h"
#include "worker/session_impl.h"

namespace tutti::bench {
namespace {

constexpr float kFloatSumTolerance = 1e-6f;

/// A negative tolerance stands for the exchange's own: none where it sums in rank order, else that of float32 sums.
float tolerance_of(const worker::Exchange& exchange, double wanted) {
  if (wanted >= 0) return static_cast<float>(wanted);
  return exchange.traits().rank_ordered ? 0 : kFloatSumTolerance;
}

class ByExchange final : public Collective {
 public:
  ByExchange(Session& session, const Options& options, std::uint64_t bytes);
  ~ByExchange() override { impl_.forget(*exchange_); }
  ByExchange(const ByExchange&) = delete;
  ByExchange& operator=(const ByExchange&) = delete;

  int rank() const override { return session_.rank(); }
  int ranks() const override { return session_.world_size(); }
  std::span<float> values(std::uint32_t bucket) override {
    return {reinterpret_cast<float*>(memory_[bucket]), elements_of(bucket, bytes_)};
  }
  // Each bucket starts once for each id, and bucket 0 is the first of a batch.
  void reduce(std::uint32_t bucket) override {
    if (bucket == 0) ++id_.step;
    impl_.check(exchange_->start(id_, bucket));
    impl_.check(exchange_->finish(impl_.deadline()));
  }
  Reduction reduction() const override { return Reduction::kAverage; }
  float tolerance() const override { return tolerance_; }
  void max_over_ranks(std::vector<double>& numbers) override { session_.all_reduce(numbers, Combine::kMax); }

  bool in_exchange_memory() const noexcept { return !own_; }

 private:
  Session& session_;
  worker::SessionImpl& impl_;
  const std::uint64_t bytes_;
  const std::uint32_t object_;
  const std::unique_ptr<worker::Exchange> exchange_;
  const float tolerance_;
  std::vector<worker::BucketMemory> places_;  // the exchange's own; none where it has none to offer, or is not to
  std::optional<PlainMemory> own_;            // in their stead
  std::vector<std::byte*> memory_;            // of each bucket
  worker::ExchangeId id_;
};

ByExchange::ByExchange(Session& session, const Options& options, std::uint64_t bytes)
    : session_(session),
      impl_(session.impl()),
      bytes_(bytes),
      object_(impl_.next_object()),
      exchange_(impl_.make_exchange(object_)),
      tolerance_(tolerance_of(*exchange_, options.tolerance)) {
  impl_.attend(*exchange_);
  worker::ExchangePlan plan{object_, 0, {}, {}};
  for (std::uint32_t b = 0; b <= batch_size(bytes); ++b)
    plan.buckets.push_back({DType::kFloat32, Reduction::kAverage, elements_of(b, bytes)});
  if (options.memory == "exchange") places_ = impl_.check(exchange_->place(plan, impl_.deadline()));
  for (const worker::BucketMemory& place : places_) plan.memory.push_back(place.get());
  if (places_.empty()) plan.memory = own_.emplace(bytes).places();
  memory_ = plan.memory;
  impl_.check(exchange_->open(std::move(plan), impl_.deadline()));
}

}  // namespace

Measurement measure_exchange_rounds(Session& session, const Options& options, std::uint64_t bytes) {
  if (!session.impl().exchanges())
    throw UsageError("one rank has nobody to exchange with: expected --ranks 2 or more, or shards");
  if (session.world_size() > Pattern::kRanksMax)
    throw UsageError("sums of more than " + std::to_string(Pattern::kRanksMax) + " ranks cannot be checked to the bit");
  ByExchange exchange(session, options, bytes);
  Measurement result = measure_rounds(exchange, bytes, options.rounds);
  result.bench = options.bench;
  result.exchange = session.exchange();
  result.transport = options.transport;
  result.shards = session.shards();
  result.memory = exchange.in_exchange_memory() ? "exchange" : "anywhere";
  return result;
}

}  // namespace tutti::bench
