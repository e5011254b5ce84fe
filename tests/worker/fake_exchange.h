// SPDX-License-Identifier: Apache-2.0
// An exchange with one made-up peer in the same process, for tests of what stands between autograd and the exchange.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "worker/exchange.h"

namespace tutti::worker {

/// The peer's contribution to a bucket: it is given ours and returns its own, as floats.
using Peer = std::function<float(std::uint32_t bucket, std::size_t element, float ours)>;

class FakeExchange final : public Exchange {
 public:
  /// Without a peer, the other rank has what we have: the average is our own gradient.
  explicit FakeExchange(Peer peer = [](std::uint32_t, std::size_t, float ours) { return ours; })
      : peer_(std::move(peer)) {}

  ExchangeTraits traits() const noexcept override {
    return {.name = "fake", .rank_ordered = true, .adds_in_float = true, .looks_for_nan = looks_for_nan};
  }
  std::vector<NotFinite> not_finite() const override { return found; }
  Result<std::vector<BucketMemory>> place(const ExchangePlan& plan, Deadline) override {
    places.clear();
    placed_ranges = plan.ranges;
    if (!has_memory) return places;
    for (const BucketSpec& bucket : plan.buckets) {
      auto bytes = std::make_shared<std::vector<std::byte>>(bucket.bytes());
      places.emplace_back(bytes, bytes->data());
    }
    return places;
  }
  std::vector<BucketMemory> spares() override {
    births.clear();
    for (const BucketRange& range : placed_ranges) {
      auto bytes = std::make_shared<std::vector<std::byte>>(range.bytes);
      births.emplace_back(bytes, bytes->data());
    }
    where.resize(births.size());
    return births;
  }
  void lies_at(std::uint32_t range, std::byte* at) override { where[range] = at; }
  Result<> open(ExchangePlan plan, Deadline) override {
    ++opens;
    plan_ = std::move(plan);
    return {};
  }
  Result<> start(const ExchangeId& id, std::uint32_t bucket) override {
    if (fail_start) return fail(Errc::kPeerLost, "rank 1 was lost");
    starts.push_back(bucket);
    started_.push_back(bucket);
    ids.push_back(id);
    return {};
  }
  Result<> poll() override {
    started_at_poll.push_back(started_.size());
    if (on_poll) on_poll();
    return {};
  }
  Result<> finish(Deadline) override {
    if (fail_finish) return fail(Errc::kTimeout, "waited in vain for rank 1");
    for (const std::uint32_t bucket : started_) {
      combine(bucket);
      tell_done(bucket);
    }
    started_.clear();
    ++finishes;
    return {};
  }
  Result<> wait(std::uint32_t, Deadline deadline) override { return finish(deadline); }
  void abort(const Failure&) noexcept override { ++aborts; }

  const ExchangePlan& plan() const { return plan_; }

  std::vector<std::uint32_t> starts;         ///< all of them, in order
  std::vector<ExchangeId> ids;               ///< of each start
  std::vector<std::size_t> started_at_poll;  ///< buckets under way when a hook polled
  std::vector<BucketMemory> places;          ///< of the buckets, where the exchange has memory
  std::vector<BucketRange> placed_ranges;
  std::vector<BucketMemory> births;  ///< beside the buckets, one for each range
  std::vector<std::byte*> where;     ///< each range lies, as it was told last
  std::function<void()> on_poll;
  int opens = 0, finishes = 0, aborts = 0;
  bool has_memory = false, looks_for_nan = false;
  std::vector<NotFinite> found;  ///< when it looks
  bool fail_start = false, fail_finish = false;

 private:
  template <class T>
  void average(std::uint32_t bucket) {
    T* values = reinterpret_cast<T*>(plan_.memory[bucket]);
    const bool divide = plan_.buckets[bucket].reduction == Reduction::kAverage;
    for (std::size_t i = 0; i < plan_.buckets[bucket].elements; ++i) {
      values[i] += static_cast<T>(peer_(bucket, i, static_cast<float>(values[i])));
      if (divide) values[i] /= 2;
    }
  }
  void combine(std::uint32_t bucket) {
    const BucketSpec& spec = plan_.buckets[bucket];
    if (spec.reduction == Reduction::kBroadcast) return;
    if (spec.dtype == DType::kFloat64)
      average<double>(bucket);
    else
      average<float>(bucket);
  }

  const Peer peer_;
  ExchangePlan plan_;
  std::vector<std::uint32_t> started_;
};

}  // namespace tutti::worker
