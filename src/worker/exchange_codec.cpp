// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_codec.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"
#include "ps/convert.h"

namespace tutti::worker {
namespace {

// A smaller bucket costs one packet either way.
constexpr std::uint64_t kBytesMin = 4096;

class CodecExchange final : public Exchange {
 public:
  CodecExchange(std::unique_ptr<Exchange> inner, DType wire) : inner_(std::move(inner)), wire_(wire) {
    TUTTI_ASSERT(inner_->traits().adds_in_float, "halves are not added in their own precision");
  }

  /// A sum of halves may be too large where that of the caller's floats is not: whoever calls looks at its own.
  ExchangeTraits traits() const noexcept override {
    ExchangeTraits traits = inner_->traits();
    traits.looks_for_nan = false;
    return traits;
  }

  Result<std::vector<BucketMemory>> place(const ExchangePlan& plan, Deadline deadline) override {
    auto places = inner_->place(narrowed(plan), deadline);
    if (!places || places->empty()) {
      placed_.clear();
      return places;
    }
    placed_ = *places;
    // The caller's float32 buckets lie elsewhere: what the exchange has room for is their narrow copy.
    for (std::size_t b = 0; b < plan.buckets.size(); ++b) {
      if (is_narrowed(plan.buckets[b])) (*places)[b] = nullptr;
    }
    return places;
  }

  Result<> open(ExchangePlan plan, Deadline deadline) override {
    started_.clear();
    wires_.clear();
    ExchangePlan inner = narrowed(plan);
    for (std::size_t b = 0; b < plan.buckets.size(); ++b) {
      wires_.push_back(is_narrowed(plan.buckets[b]) ? room_for(b, inner.buckets[b]) : nullptr);
      if (wires_[b]) inner.memory[b] = wires_[b].get();
    }
    plan_ = std::move(plan);
    return inner_->open(std::move(inner), deadline);
  }

  Result<> start(const ExchangeId& id, std::uint32_t bucket) override {
    to_wire(bucket);
    return inner_->start(id, bucket);
  }

  /// A result was widened: to narrow it changes nothing.
  Result<> hand_on(const ExchangeId& id, std::uint32_t bucket) override {
    to_wire(bucket);
    return inner_->hand_on(id, bucket);
  }

  Result<> poll() override { return inner_->poll(); }

  Result<> wait(std::uint32_t bucket, Deadline deadline) override {
    TUTTI_TRY(inner_->wait(bucket, deadline));
    const bool was_awaited = std::erase(started_, bucket) > 0;
    if (was_awaited && wires_[bucket]) ps::widen(wire_, narrow(bucket), wide(bucket));
    return {};
  }

  Result<> finish(Deadline deadline) override {
    while (!started_.empty()) TUTTI_TRY(wait(started_.front(), deadline));
    return inner_->finish(deadline);
  }

  void abort(const Failure& cause) noexcept override { inner_->abort(cause); }

  Result<> mend(const Succession& succession, Deadline deadline) override { return inner_->mend(succession, deadline); }
  Result<> go_on(Deadline deadline) override { return inner_->go_on(deadline); }
  void take_over(std::uint64_t rounds, const Succession& succession) override { inner_->take_over(rounds, succession); }

 private:
  void to_wire(std::uint32_t bucket) {
    if (wires_[bucket]) ps::narrow(wire_, wide(bucket), narrow(bucket));
    started_.push_back(bucket);
  }

  static bool is_narrowed(const BucketSpec& spec) {
    return spec.dtype == DType::kFloat32 && spec.reduction != Reduction::kBroadcast && spec.bytes() >= kBytesMin;
  }

  ExchangePlan narrowed(const ExchangePlan& plan) const {
    ExchangePlan inner = plan;
    for (BucketSpec& spec : inner.buckets) {
      if (is_narrowed(spec)) spec.dtype = wire_;
    }
    return inner;
  }

  BucketMemory room_for(std::size_t bucket, const BucketSpec& spec) const {
    if (bucket < placed_.size()) return placed_[bucket];
    auto* const bytes = static_cast<std::byte*>(::operator new(spec.bytes(), kAlignment));
    return BucketMemory(bytes, [](std::byte* p) { ::operator delete(p, kAlignment); });
  }

  std::span<float> wide(std::uint32_t bucket) const {
    return {reinterpret_cast<float*>(plan_.memory[bucket]), plan_.buckets[bucket].elements};
  }
  std::span<std::uint16_t> narrow(std::uint32_t bucket) const {
    return {reinterpret_cast<std::uint16_t*>(wires_[bucket].get()), plan_.buckets[bucket].elements};
  }

  static constexpr std::align_val_t kAlignment{64};

  const std::unique_ptr<Exchange> inner_;
  const DType wire_;
  ExchangePlan plan_;
  std::vector<BucketMemory> placed_;  // by the inner exchange, for the plan that is opened next
  std::vector<BucketMemory> wires_;   // of each bucket its narrow copy; null where it travels as it is
  std::vector<std::uint32_t> started_;
};

}  // namespace

std::unique_ptr<Exchange> make_codec_exchange(std::unique_ptr<Exchange> inner, DType wire) {
  return std::make_unique<CodecExchange>(std::move(inner), wire);
}

}  // namespace tutti::worker
