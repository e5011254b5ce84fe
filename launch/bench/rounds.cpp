// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/rounds.h"

#include <algorithm>
#include <cmath>

#include "launch/bench/verified_exchange.h"

namespace tutti::bench {
namespace {

constexpr std::uint64_t kBatchBytes = 256 << 10;
constexpr std::size_t kBatchMax = 64;
constexpr int kWarmUpBatches = 3;
constexpr int kBatchesMin = 20, kBatchesMax = 2000;
constexpr double kSecond = 1e6;

}  // namespace

std::size_t batch_size(std::uint64_t bytes) noexcept {
  return std::clamp<std::size_t>(kBatchBytes / bytes, 1, kBatchMax);
}

int batches_for(double us) noexcept {
  return static_cast<int>(std::clamp(std::ceil(kSecond / us), double{kBatchesMin}, double{kBatchesMax}));
}

Measurement measure_rounds(Session& session, const Options& options, std::uint64_t bytes) {
  const std::size_t batch = batch_size(bytes);
  VerifiedExchange exchange(session.impl(), {bytes, batch, options.memory == "exchange"}, options.tolerance);
  double last = 0;
  for (int i = 0; i < kWarmUpBatches; ++i) last = exchange.round();
  // Every rank has to do the same number.
  last = session.all_reduce(last, Combine::kMax);
  const int batches = options.rounds > 0 ? options.rounds : batches_for(last * static_cast<double>(batch));

  std::vector<double> us;
  for (int i = 0; i < batches; ++i) us.push_back(exchange.round());
  session.all_reduce(us, Combine::kMax);

  Measurement result;
  result.bench = options.bench;
  result.exchange = session.exchange();
  result.transport = options.transport;
  result.ranks = session.world_size();
  result.shards = session.shards();
  result.bytes = bytes;
  result.us = summarize(us);
  result.memory = exchange.in_exchange_memory() ? "exchange" : "anywhere";
  result.more = {{"batches", batches}, {"batch", static_cast<double>(batch)}};
  return result;
}

}  // namespace tutti::bench
