// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_mpi.h"

#include <gmock/gmock.h>

#include "ps/half.h"
#include "tests/launch/mpi_ranks.h"

namespace tutti::worker {
namespace {

using ::tutti::testing::ranks;
using ::tutti::testing::soon;

template <class T>
std::byte* bytes_of(std::vector<T>& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

/// One bucket from start to its result.
template <class T>
Result<> exchange_once(DType dtype, Reduction reduction, std::vector<T>& values) {
  const auto exchange = make_mpi_exchange(ranks());
  ExchangePlan plan;
  plan.buckets = {{dtype, reduction, values.size()}};
  plan.memory = {bytes_of(values)};
  TUTTI_TRY(exchange->open(plan, soon()));
  TUTTI_TRY(exchange->start({1, 0}, 0));
  return exchange->finish(soon());
}

TEST(ExchangeMpi, AveragesByOneDivisionOfTheSum) {
  // Small integers: their sum is exact in any order.
  std::vector<float> values(1000);
  const int size = ranks().size();
  float sum_of_ranks = 0;
  for (int rank = 0; rank < size; ++rank) sum_of_ranks += static_cast<float>(rank);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i) + static_cast<float>(ranks().rank());
  }
  ASSERT_TRUE(exchange_once(DType::kFloat32, Reduction::kAverage, values));
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i], (static_cast<float>(i) * static_cast<float>(size) + sum_of_ranks) / static_cast<float>(size))
        << i;
  }
}

TEST(ExchangeMpi, AddsHalvesInFloat) {
  const auto size = static_cast<float>(ranks().size());
  std::vector<std::uint16_t> brain(100, ps::bfloat16_from_float(1.5f)), half(100, ps::float16_from_float(2.25f));
  ASSERT_TRUE(exchange_once(DType::kBFloat16, Reduction::kSum, brain));
  ASSERT_TRUE(exchange_once(DType::kFloat16, Reduction::kAverage, half));
  EXPECT_THAT(brain, ::testing::Each(ps::bfloat16_from_float(1.5f * size)));
  EXPECT_THAT(half, ::testing::Each(ps::float16_from_float(2.25f)));
}

TEST(ExchangeMpi, SumsIntegersAndOrsBools) {
  std::vector<std::int64_t> counts(7, ranks().rank() + 1);
  ASSERT_TRUE(exchange_once(DType::kInt64, Reduction::kSum, counts));
  EXPECT_THAT(counts, ::testing::Each(ranks().size() * (ranks().size() + 1) / 2));
  std::vector<std::uint8_t> used = {ranks().rank() == 1, 0};
  ASSERT_TRUE(exchange_once(DType::kBool, Reduction::kSum, used));
  EXPECT_THAT(used, ::testing::ElementsAre(1, 0));
}

TEST(ExchangeMpi, BroadcastsRankZerosBytes) {
  std::vector<double> buffers(33, ranks().rank() + 0.5);
  ASSERT_TRUE(exchange_once(DType::kFloat64, Reduction::kBroadcast, buffers));
  EXPECT_THAT(buffers, ::testing::Each(0.5));
}

TEST(ExchangeMpi, ManyBucketsOverlapAndRepeatOverSteps) {
  const auto exchange = make_mpi_exchange(ranks());
  std::vector<std::vector<float>> buckets(5, std::vector<float>(2048));
  ExchangePlan plan;
  for (auto& bucket : buckets) {
    plan.buckets.push_back({DType::kFloat32, Reduction::kSum, bucket.size()});
    plan.memory.push_back(bytes_of(bucket));
  }
  ASSERT_TRUE(exchange->open(plan, soon()));
  for (std::uint64_t step = 1; step <= 10; ++step) {
    for (std::uint32_t i = 0; i < buckets.size(); ++i) {
      std::fill(buckets[i].begin(), buckets[i].end(), static_cast<float>(i + step));
      ASSERT_TRUE(exchange->start({step, 0}, i));
      ASSERT_TRUE(exchange->poll());
    }
    ASSERT_TRUE(exchange->finish(soon()));
    for (std::uint32_t i = 0; i < buckets.size(); ++i) {
      ASSERT_THAT(buckets[i],
                  ::testing::Each(static_cast<float>((i + step) * static_cast<std::uint64_t>(ranks().size()))));
    }
  }
}

TEST(ExchangeMpi, RanksWithOtherBucketsAreAMismatch) {
  const auto exchange = make_mpi_exchange(ranks());
  std::vector<float> values(10 + static_cast<std::size_t>(ranks().rank()));
  ExchangePlan plan;
  plan.buckets = {{DType::kFloat32, Reduction::kAverage, values.size()}};
  plan.memory = {bytes_of(values)};
  const auto opened = exchange->open(plan, soon());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kMismatch);
}

TEST(ExchangeMpi, AnAverageOfIntegersIsRefused) {
  std::vector<std::int32_t> values(4);
  const auto opened = exchange_once(DType::kInt32, Reduction::kAverage, values);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kUsage);
}

TEST(ExchangeMpi, AbortEndsTheWaitWithItsCause) {
  const auto exchange = make_mpi_exchange(ranks());
  // Outlives the exchange: messages that were given up may still arrive.
  static std::vector<float> values(100);
  ExchangePlan plan;
  plan.buckets = {{DType::kFloat32, Reduction::kSum, values.size()}};
  plan.memory = {bytes_of(values)};
  ASSERT_TRUE(exchange->open(plan, soon()));
  if (ranks().rank() == 0) {
    ASSERT_TRUE(exchange->start({1, 0}, 0));
  }
  exchange->abort(fail(Errc::kPeerLost, "rank 2 is gone"));
  exchange->abort(fail(Errc::kTimeout, "a later cause"));
  for (const auto& ended : {exchange->poll(), exchange->finish(soon()), exchange->start({2, 0}, 0)}) {
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().message, "rank 2 is gone");
  }
}

}  // namespace
}  // namespace tutti::worker
