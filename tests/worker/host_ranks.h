// SPDX-License-Identifier: Apache-2.0
// Hosts of a test of the exchange in two stages, and what their ranks' sum is.
#pragma once

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/host_memory.h"
#include "ps/reduce.h"
#include "tests/worker/exchange_memory.h"
#include "worker/exchange_hierarchical.h"

namespace tutti::worker {

using Sizes = std::vector<std::uint32_t>;  // of the hosts, in ranks

/// The shared memory of one host and its ranks' exchanges in it.
class Host {
 public:
  Host(std::uint32_t ranks, const std::string& name) : ranks_(ranks), name_(name) {}

  /// `between` is the leader's.
  std::unique_ptr<HierarchicalExchange> rank(std::uint32_t local_rank, int world_size,
                                             std::unique_ptr<Exchange> between = nullptr,
                                             bool outlives_losses = false) {
    auto within = std::make_unique<ShmExchange>(
        ShmOptions{keeper_name_, {local_rank, ranks_}, name_, /*has_cores=*/false, /*shares_back=*/true}, clock_);
    return std::make_unique<HierarchicalExchange>(
        HierarchicalExchange::Options{"shm+test", world_size, outlives_losses}, std::move(within), std::move(between),
        clock_);
  }
  Deadline in(Duration time) const { return clock_.now() + time; }

 private:
  static std::string fresh_name() {
    static int number = 0;
    return "tutti-hierarchy-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
  }

  const std::uint32_t ranks_;
  const std::string name_, keeper_name_ = fresh_name();
  const SteadyClock clock_;
  Loop loop_;
  const std::unique_ptr<SegmentKeeper> keeper_ = SegmentKeeper::start(loop_, keeper_name_, Logger::none()).value();
};

/// Of all kinds and awkward lengths; several blocks and chunks long and less than one.
inline std::vector<BucketSpec> many_buckets() {
  return {{DType::kFloat32, Reduction::kAverage, 50'001}, {DType::kFloat64, Reduction::kSum, 777},
          {DType::kBFloat16, Reduction::kAverage, 3'333}, {DType::kInt64, Reduction::kBroadcast, 9'000},
          {DType::kFloat16, Reduction::kAverage, 129},    {DType::kInt64, Reduction::kSum, 65},
          {DType::kFloat32, Reduction::kAverage, 1}};
}

inline Bytes sum_of(DType dtype, const std::vector<Bytes>& inputs) {
  std::vector<const std::byte*> contributions;
  for (const Bytes& input : inputs) contributions.push_back(input.data());
  Bytes sum(inputs[0].size());
  ps::reduce(dtype, Reduction::kSum, contributions, sum);
  return sum;
}

/// The sum of each host, their sum, then one division.
inline Bytes expected(const BucketSpec& spec, const Sizes& hosts, std::uint64_t round) {
  std::vector<Bytes> sums;
  std::size_t rank = 0;
  for (const std::uint32_t size : hosts) {
    std::vector<Bytes> inputs;
    for (std::uint32_t i = 0; i < size; ++i) inputs.push_back(input_of(spec, rank++, round));
    sums.push_back(sum_of(spec.dtype, inputs));
  }
  if (spec.reduction == Reduction::kBroadcast) return input_of(spec, 0, round);
  Bytes result = sum_of(spec.dtype, sums);
  if (spec.reduction == Reduction::kAverage) ps::divide(spec.dtype, result, rank);
  return result;
}

}  // namespace tutti::worker
