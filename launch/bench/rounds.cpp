// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/rounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>
#include <utility>

#include "common/alignment.h"
#include "launch/bench/pattern.h"
#include "tutti/error.h"

namespace tutti::bench {
namespace {

constexpr std::uint32_t kGate = 0;
constexpr std::size_t kGateElements = 16;
constexpr std::uint64_t kBatchBytes = 256 << 10;
constexpr std::size_t kBatchMax = 64;
constexpr int kWarmUpBatches = 3;
constexpr int kBatchesMin = 20, kBatchesMax = 2000;
constexpr double kSecond = 1e6;

// Memory that is aligned on one rank only would be another measurement.
std::size_t padded(std::size_t bytes) {
  return rounded_up(bytes, kPageBytes);
}

void verify(Collective& collective, const Pattern& pattern, std::uint32_t bucket, std::uint32_t round) {
  const auto values = collective.values(bucket);
  const auto wrong = pattern.first_wrong(values, collective.reduction(), collective.tolerance());
  if (!wrong) return;
  throw Error(Errc::kInternal,
              fmt::format("rank {}: element {} of {} is {} after round {}, expected {}", collective.rank(), *wrong,
                          values.size(), values[*wrong], round, pattern.expected(*wrong, collective.reduction())));
}

/// One batch; microseconds for one of its buckets.
double round(Collective& collective, std::uint32_t batch, std::uint32_t number) {
  std::vector<Pattern> patterns;
  for (std::uint32_t b = 0; b <= batch; ++b) {
    patterns.emplace_back(collective.ranks(), number * (batch + 1) + b);
    patterns.back().fill(collective.values(b), collective.rank());
  }
  collective.reduce(kGate);
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint32_t b = kGate + 1; b <= batch; ++b) collective.reduce(b);
  const auto taken = std::chrono::steady_clock::now() - begin;
  verify(collective, patterns[kGate], kGate, number);
  patterns[kGate].fill(collective.values(kGate), collective.rank());
  collective.reduce(kGate);
  for (std::uint32_t b = 0; b <= batch; ++b) verify(collective, patterns[b], b, number);
  return std::chrono::duration<double, std::micro>(taken).count() / batch;
}

}  // namespace

std::size_t elements_of(std::uint32_t bucket, std::uint64_t bytes) noexcept {
  return bucket == kGate ? kGateElements : bytes / sizeof(float);
}

std::size_t batch_size(std::uint64_t bytes) noexcept {
  return std::clamp<std::size_t>(kBatchBytes / bytes, 1, kBatchMax);
}

int batches_for(double us) noexcept {
  return static_cast<int>(std::clamp(std::ceil(kSecond / us), double{kBatchesMin}, double{kBatchesMax}));
}

PlainMemory::PlainMemory(std::uint64_t bytes) {
  const auto buckets = static_cast<std::uint32_t>(1 + batch_size(bytes));
  const auto size = [bytes](std::uint32_t bucket) { return padded(elements_of(bucket, bytes) * sizeof(float)); };
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, size(kGate) + (buckets - 1) * size(1))));
  if (!memory_) throw std::bad_alloc();
  std::byte* next = memory_.get();
  for (std::uint32_t b = 0; b < buckets; ++b) places_.push_back(std::exchange(next, next + size(b)));
}

Measurement measure_rounds(Collective& collective, std::uint64_t bytes, int rounds) {
  const auto batch = static_cast<std::uint32_t>(batch_size(bytes));
  std::uint32_t number = 0;
  std::vector<double> warm_up;
  for (int i = 0; i < kWarmUpBatches; ++i) warm_up = {round(collective, batch, number++)};
  collective.max_over_ranks(warm_up);  // every rank has to do the same number
  if (rounds == 0) rounds = batches_for(warm_up.front() * batch);

  std::vector<double> us;
  for (int i = 0; i < rounds; ++i) us.push_back(round(collective, batch, number++));
  collective.max_over_ranks(us);

  Measurement result;
  result.bench = "allreduce";
  result.ranks = collective.ranks();
  result.bytes = bytes;
  result.us = summarize(us);
  result.more = {{"batches", rounds}, {"batch", batch}};
  return result;
}

}  // namespace tutti::bench
