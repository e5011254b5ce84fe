// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/verified_exchange.h"

#include <fmt/format.h>

#include <new>
#include <utility>

#include "tutti/error.h"

namespace tutti::bench {
namespace {

constexpr std::uint32_t kGate = 0;  // the small exchange after which the ranks begin together
constexpr std::uint64_t kGateElements = 16;
constexpr float kFloatSumTolerance = 1e-6f;
constexpr std::size_t kPageBytes = 4096;  // memory that is aligned on one rank only would be another measurement

std::size_t padded(std::uint64_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

float tolerance_of(const worker::Exchange& exchange, double wanted) {
  if (wanted >= 0) return static_cast<float>(wanted);
  return exchange.traits().rank_ordered ? 0 : kFloatSumTolerance;
}

}  // namespace

VerifiedExchange::VerifiedExchange(worker::SessionImpl& session, const ExchangeSize& size, double tolerance)
    : session_(session),
      size_(size),
      object_(session.next_object()),
      exchange_(session.make_exchange(object_)),
      tolerance_(tolerance_of(*exchange_, tolerance)) {
  session_.attend(*exchange_);
  worker::ExchangePlan plan = this->plan();
  if (size_.exchange_memory) plan.memory = session_.check(exchange_->place(plan, session_.deadline()));
  in_exchange_memory_ = !plan.memory.empty();
  if (!in_exchange_memory_) place_in_own_memory(plan);
  memory_ = plan.memory;
  session_.check(exchange_->open(std::move(plan), session_.deadline()));
}

VerifiedExchange::~VerifiedExchange() {
  session_.forget(*exchange_);
}

worker::ExchangePlan VerifiedExchange::plan() {
  worker::ExchangePlan plan{object_, 0, {{DType::kFloat32, Reduction::kAverage, kGateElements}}, {}};
  plan.buckets.resize(1 + size_.buckets, {DType::kFloat32, Reduction::kAverage, size_.bytes / sizeof(float)});
  return plan;
}

void VerifiedExchange::place_in_own_memory(worker::ExchangePlan& plan) {
  std::size_t bytes = 0;
  for (const BucketSpec& bucket : plan.buckets) bytes += padded(bucket.bytes());
  own_.reset(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, bytes)));
  if (!own_) throw std::bad_alloc();
  std::byte* next = own_.get();
  for (const BucketSpec& bucket : plan.buckets)
    plan.memory.push_back(std::exchange(next, next + padded(bucket.bytes())));
}

double VerifiedExchange::round() {
  std::vector<Pattern> patterns;
  for (std::uint32_t b = 0; b <= size_.buckets; ++b) {
    patterns.emplace_back(session_.identity().world_size,
                          static_cast<std::uint32_t>(id_.step * (size_.buckets + 1)) + b);
    patterns.back().fill(values(b), session_.identity().rank);
  }
  exchange(kGate);
  const Deadline begin = session_.clock().now();
  for (std::uint32_t b = kGate + 1; b <= size_.buckets; ++b) exchange(b);
  const Duration taken = session_.clock().now() - begin;
  for (std::uint32_t b = 0; b <= size_.buckets; ++b) verify(patterns[b], b);
  ++id_.step;
  return std::chrono::duration<double, std::micro>(taken).count() / static_cast<double>(size_.buckets);
}

std::span<float> VerifiedExchange::values(std::uint32_t bucket) const {
  return {reinterpret_cast<float*>(memory_[bucket]), bucket == kGate ? kGateElements : size_.bytes / sizeof(float)};
}

void VerifiedExchange::exchange(std::uint32_t bucket) {
  session_.check(exchange_->start(id_, bucket));
  session_.check(exchange_->finish(session_.deadline()));
}

void VerifiedExchange::verify(const Pattern& pattern, std::uint32_t bucket) const {
  const auto wrong = pattern.first_wrong(values(bucket), Reduction::kAverage, tolerance_);
  if (!wrong) return;
  session_.raise(
      fail(Errc::kInternal, fmt::format("{}: element {} of {} is {} after round {}, expected {}", session_.name(),
                                        *wrong, values(bucket).size(), values(bucket)[*wrong], id_.step,
                                        pattern.expected(*wrong, Reduction::kAverage))));
}

}  // namespace tutti::bench
