// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_shm.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "ps/reduce.h"
#include "tests/worker/exchange_memory.h"
#include "tests/worker/shm_ranks.h"

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// Of all kinds and awkward lengths; the last is of many blocks and pieces.
std::vector<BucketSpec> many_buckets() {
  return {{DType::kFloat32, Reduction::kAverage, 1},        {DType::kFloat32, Reduction::kAverage, 50'001},
          {DType::kFloat64, Reduction::kSum, 777},          {DType::kBFloat16, Reduction::kAverage, 33'333},
          {DType::kFloat16, Reduction::kAverage, 129},      {DType::kInt64, Reduction::kSum, 65},
          {DType::kInt64, Reduction::kBroadcast, 40'000},   {DType::kFloat32, Reduction::kSum, 0},
          {DType::kFloat32, Reduction::kAverage, 1'200'003}};
}

Bytes expected(const BucketSpec& spec, std::uint32_t ranks, std::uint64_t round) {
  std::vector<Bytes> inputs;
  std::vector<const std::byte*> contributions;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) inputs.push_back(input_of(spec, rank, round));
  for (const Bytes& input : inputs) contributions.push_back(input.data());
  if (spec.reduction != Reduction::kBroadcast) ps::reduce(spec.dtype, spec.reduction, contributions, inputs[0]);
  return inputs[0];
}

using ShmSetting = std::tuple<std::uint32_t, bool>;  // ranks; placed
class ShmExchangeTest : public ::testing::TestWithParam<ShmSetting> {};
class ShmExchangeWait : public ShmExchangeTest {};  // with somebody to wait for

TEST_P(ShmExchangeTest, ReducesInRankOrderOverManyRounds) {
  const auto [size, placed] = GetParam();
  ShmRanks ranks(size);
  const auto buckets = many_buckets();
  constexpr std::uint64_t kRounds = 4;
  std::vector<std::vector<Bytes>> results(kRounds);
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    for (const BucketSpec& bucket : buckets) results[round].push_back(expected(bucket, size, round));
  }
  const bool in_place = placed;
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    const Memory memory = open(exchange, buckets, ranks.in(20s), 0, in_place);
    std::vector<std::uint32_t> all(buckets.size()), told;
    std::iota(all.begin(), all.end(), 0u);
    exchange.on_bucket_done([&](std::uint32_t bucket) { told.push_back(bucket); });
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      told.clear();
      for (std::uint32_t b = 0; b < buckets.size(); ++b) {
        fill(memory, b, rank, round);
        ASSERT_TRUE(exchange.start({round, 0}, b));
        ASSERT_TRUE(exchange.poll());
      }
      // Waited for one by one in odd rounds, in another order than they were started in.
      for (std::uint32_t b = round % 2 == 1 ? static_cast<std::uint32_t>(buckets.size()) : 0; b-- > 0;) {
        ASSERT_TRUE(exchange.wait(b, ranks.in(20s)));
        EXPECT_TRUE(holds(memory, b, results[round][b])) << "round " << round << ", bucket " << b << ", rank " << rank;
      }
      ASSERT_TRUE(exchange.finish(ranks.in(20s)));
      EXPECT_EQ(told, all) << "each bucket is told to be done once a round";
      for (std::uint32_t b = 0; b < buckets.size(); ++b) {
        EXPECT_TRUE(holds(memory, b, results[round][b])) << "round " << round << ", bucket " << b << ", rank " << rank;
      }
    }
  });
}

TEST_P(ShmExchangeTest, ReopensWithAnotherPlan) {
  const auto [size, placed] = GetParam();
  ShmRanks ranks(size);
  const bool in_place = placed;
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    for (std::uint32_t number = 0; number < 3; ++number) {
      ExchangePlan plan;
      plan.number = number;
      plan.buckets = {{DType::kFloat32, Reduction::kSum, 1000 + number}};
      std::vector<float> own(1000 + number);
      std::vector<BucketMemory> memory;
      if (in_place) memory = exchange.place(plan, ranks.in(20s)).value();
      auto* values = in_place ? reinterpret_cast<float*>(memory[0].get()) : own.data();
      plan.memory = {reinterpret_cast<std::byte*>(values)};
      ASSERT_TRUE(exchange.open(plan, ranks.in(20s)));
      std::fill_n(values, 1000 + number, static_cast<float>(rank + 1));
      ASSERT_TRUE(exchange.start({number, 0}, 0));
      ASSERT_TRUE(exchange.finish(ranks.in(20s)));
      EXPECT_EQ(values[999 + number], static_cast<float>(size * (size + 1) / 2));
    }
  });
}

TEST_P(ShmExchangeWait, NamesTheRankThatItWaitedForInVain) {
  const auto [size, placed] = GetParam();
  ShmRanks ranks(size);
  const bool in_place = placed;
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    const Memory memory = open(exchange, {{DType::kFloat32, Reduction::kSum, 1000}}, ranks.in(20s), 0, in_place);
    if (rank == ranks.size() - 1) return;  // this one never starts
    ASSERT_TRUE(exchange.start({12, 0}, 0));
    const auto waited = exchange.wait(0, ranks.in(30ms));
    ASSERT_FALSE(waited);
    EXPECT_EQ(waited.error().code, Errc::kTimeout);
    EXPECT_THAT(waited.error().text(),
                ::testing::AllOf(HasSubstr("testhost"), HasSubstr("step 12"), HasSubstr("bucket 0"),
                                 HasSubstr("in vain for local rank " + std::to_string(ranks.size() - 1))));
  });
}

TEST_P(ShmExchangeWait, EndsASleepingWaitWithTheCauseOfAnAbort) {
  const auto [size, placed] = GetParam();
  ShmRanks ranks(size);
  const bool in_place = placed;
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    const Memory memory = open(exchange, {{DType::kFloat32, Reduction::kSum, 1000}}, ranks.in(20s), 0, in_place);
    if (rank != 0) return;
    ASSERT_TRUE(exchange.start({1, 0}, 0));
    std::jthread loop([&] {
      exchange.abort(fail(Errc::kPeerLost, "rank 1 was killed"));
      exchange.abort(fail(Errc::kTimeout, "later"));
    });
    EXPECT_EQ(exchange.wait(0, ranks.in(20s)).error().text(), "rank 1 was killed");
    loop.join();
    EXPECT_EQ(exchange.poll().error().code, Errc::kPeerLost);
    EXPECT_EQ(exchange.start({2, 0}, 0).error().code, Errc::kPeerLost);
    EXPECT_EQ(exchange.open(memory.plan, ranks.in(1s)).error().code, Errc::kPeerLost);
  });
}

std::string name_of(const ::testing::TestParamInfo<ShmSetting>& info) {
  return std::to_string(std::get<0>(info.param)) + (std::get<1>(info.param) ? "RanksInPlace" : "RanksStaged");
}
INSTANTIATE_TEST_SUITE_P(All, ShmExchangeTest, ::testing::Combine(::testing::Values(1u, 2u, 3u, 5u), ::testing::Bool()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(All, ShmExchangeWait, ::testing::Combine(::testing::Values(2u, 3u, 5u), ::testing::Bool()),
                         name_of);

TEST(ShmExchange, SharesTheFirstRanksBucketBack) {
  ShmRanks ranks(3, /*shares_back=*/true);
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    ExchangePlan plan;
    plan.buckets = {{DType::kFloat32, Reduction::kSum, 100'000}};
    const auto memory = exchange.place(plan, ranks.in(20s)).value();
    plan.memory = {memory[0].get()};
    ASSERT_TRUE(exchange.open(plan, ranks.in(20s)));
    auto* values = reinterpret_cast<float*>(memory[0].get());
    const auto sums = exchange.sums();
    const auto* const summed = reinterpret_cast<const float*>(sums[0].get());
    for (std::uint64_t round = 1; round <= 5; ++round) {
      std::fill_n(values, 100'000, static_cast<float>(rank + round));
      ASSERT_TRUE(exchange.start({round, 0}, 0));
      ASSERT_TRUE(exchange.wait(0, ranks.in(20s)));
      EXPECT_TRUE(exchange.is_summed(0));
      const auto sum = static_cast<float>(3 + 3 * round);
      ASSERT_EQ(summed[99'999], sum);
      ASSERT_EQ(values[99'999], static_cast<float>(rank + round)) << "the input stays until there is a result";
      // What would come from the other hosts.
      if (rank == 0) std::fill_n(values, 100'000, sum * 2);
      ASSERT_TRUE(exchange.start_share(0));
      ASSERT_TRUE(exchange.wait_share(0, ranks.in(20s)));
      ASSERT_EQ(values[0], sum * 2);
      ASSERT_EQ(values[99'999], sum * 2);
      ASSERT_TRUE(exchange.finish(ranks.in(20s)));
    }
  });
}

TEST(ShmExchange, TakesInputsFromWhereTheyWereBorn) {
  ShmRanks ranks(3);
  constexpr std::uint64_t kElements = 100'000, kFirst = 100, kCount = 70'001;
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    ExchangePlan plan;
    plan.buckets = {{DType::kFloat32, Reduction::kSum, 5}, {DType::kFloat32, Reduction::kSum, kElements}};
    plan.ranges = {{1, kFirst * 4, kCount * 4}, {1, 90'000 * 4, 16 * 4}};
    const auto memory = exchange.place(plan, ranks.in(20s)).value();
    plan.memory = {memory[0].get(), memory[1].get()};
    const auto spares = exchange.spares();
    ASSERT_EQ(spares.size(), 2u);
    ASSERT_TRUE(exchange.open(plan, ranks.in(20s)));
    auto* const bucket = reinterpret_cast<float*>(memory[1].get());
    auto* const spare = reinterpret_cast<float*>(spares[0].get());
    ASSERT_TRUE(exchange.use_bucket(0) && exchange.use_bucket(1));
    for (std::uint64_t round = 1; round <= 4; ++round) {
      // On each rank in other rounds, so that a sum mixes both kinds of places.
      const bool apart = (round + rank) % 2 == 0;
      exchange.lies_at(0, apart ? spares[0].get() : memory[1].get() + kFirst * 4);
      for (std::uint64_t i = 0; i < kElements; ++i) bucket[i] = static_cast<float>(i + rank + round);
      for (std::uint64_t i = 0; apart && i < kCount; ++i) {
        spare[i] = bucket[kFirst + i];
        bucket[kFirst + i] = -1;  // must not be looked at
      }
      ASSERT_TRUE(exchange.start({round, 0}, 0) && exchange.start({round, 0}, 1));
      ASSERT_TRUE(exchange.finish(ranks.in(20s)));
      for (std::uint64_t i = 0; i < kElements; ++i) {
        const bool moved = apart && i >= kFirst && i < kFirst + kCount;
        ASSERT_EQ(moved ? spare[i - kFirst] : bucket[i], static_cast<float>(3 * (i + round) + 3)) << i;
        if (moved) {
          ASSERT_EQ(bucket[i], -1) << i;
        }
      }
    }
  });
}

struct Found {
  std::optional<std::uint32_t> rank;
  std::uint32_t bucket;
  std::uint64_t element;
  bool operator==(const Found&) const = default;
};

std::vector<Found> found_by(const ShmExchange& exchange) {
  std::vector<Found> found;
  for (const NotFinite& each : exchange.not_finite()) found.push_back({each.rank, each.bucket, each.element});
  return found;
}

/// One exchange of two buckets of ones, in which `spoil` has changed this rank's; what it found.
std::vector<Found> exchange_spoilt(ShmExchange& exchange, const ExchangePlan& plan, std::uint64_t round,
                                   const std::function<void(std::uint32_t bucket, float* values)>& spoil,
                                   Deadline deadline) {
  for (std::uint32_t b = 0; b < plan.buckets.size(); ++b) {
    auto* const values = reinterpret_cast<float*>(plan.memory[b]);
    std::fill_n(values, plan.buckets[b].elements, 1.0f);
    spoil(b, values);
    EXPECT_TRUE(exchange.start({round, 0}, b));
  }
  EXPECT_TRUE(exchange.finish(deadline));
  return found_by(exchange);
}

TEST(ShmExchange, TellsEveryRankWhoseInputIsNotFinite) {
  ShmRanks ranks(3);
  constexpr std::uint64_t kBlock = HostLayout::kBlockBytes / sizeof(float);
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    ExchangePlan plan;
    plan.looks_for_nan = true;
    plan.buckets = {{DType::kFloat32, Reduction::kAverage, 5}, {DType::kFloat32, Reduction::kAverage, 3 * kBlock + 7}};
    const auto memory = exchange.place(plan, ranks.in(20s)).value();
    plan.memory = {memory[0].get(), memory[1].get()};
    ASSERT_TRUE(exchange.open(plan, ranks.in(20s)));
    const auto spoilt = [&](std::uint64_t round, const std::function<void(std::uint32_t, float*)>& spoil) {
      return exchange_spoilt(exchange, plan, round, spoil, ranks.in(20s));
    };
    const auto nothing = [](std::uint32_t, float*) {};
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");

    EXPECT_EQ(spoilt(1, nothing), std::vector<Found>());
    const auto several = spoilt(2, [&](std::uint32_t bucket, float* values) {
      if (bucket == 0 && rank == 2) values[4] = -infinity;
      if (bucket == 1 && rank >= 1) values[kBlock + 100 * rank] = nan;
      if (bucket == 1 && rank == 1) values[kBlock + 101] = nan;
    });
    EXPECT_EQ(several, (std::vector<Found>{{2, 0, 4}, {1, 1, kBlock + 100}, {2, 1, kBlock + 200}}));
    const auto too_large = spoilt(3, [&](std::uint32_t bucket, float* values) {
      if (bucket == 1) values[3 * kBlock + 6] = std::numeric_limits<float>::max();
    });
    EXPECT_EQ(too_large, (std::vector<Found>{{std::nullopt, 1, 3 * kBlock + 6}}));
    EXPECT_EQ(spoilt(4, nothing), std::vector<Found>());
    const auto* const values = reinterpret_cast<const float*>(plan.memory[1]);
    EXPECT_EQ(std::count(values, values + plan.buckets[1].elements, 1.0f),
              static_cast<std::ptrdiff_t>(plan.buckets[1].elements));
  });
}

TEST(ShmExchange, SumsWhatIsNotFiniteWhereNobodyLooks) {
  ShmRanks ranks(2);
  ranks.run([&](std::uint32_t rank, ShmExchange& exchange) {
    ExchangePlan plan;
    plan.buckets = {{DType::kFloat32, Reduction::kAverage, 5}};
    const auto memory = exchange.place(plan, ranks.in(20s)).value();
    plan.memory = {memory[0].get()};
    ASSERT_TRUE(exchange.open(plan, ranks.in(20s)));
    const auto found = exchange_spoilt(
        exchange, plan, 1,
        [&](std::uint32_t, float* values) {
          if (rank == 1) values[3] = std::nanf("");
        },
        ranks.in(20s));
    EXPECT_EQ(found, std::vector<Found>());
    EXPECT_TRUE(std::isnan(reinterpret_cast<const float*>(plan.memory[0])[3]));
  });
}

TEST(ShmExchange, RefusesRanksWithOtherBuckets) {
  ShmRanks ranks(2);
  ExchangePlan plan;
  plan.buckets = {{DType::kFloat32, Reduction::kSum, 10}};
  ASSERT_TRUE(ranks[0].place(plan, ranks.in(20s)));
  plan.buckets[0].reduction = Reduction::kAverage;
  const auto refused = ranks[1].place(plan, ranks.in(20s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kMismatch);
}

TEST(ShmExchange, RefusesAnAverageOfIntegers) {
  ShmRanks ranks(1);
  ExchangePlan plan;
  plan.buckets = {{DType::kInt32, Reduction::kAverage, 4}};
  EXPECT_EQ(ranks[0].place(plan, ranks.in(20s)).error().code, Errc::kUsage);
}

TEST(ShmExchange, LeavesItsMemoryToWhoStillHoldsIt) {
  BucketMemory bucket;
  {
    ShmRanks ranks(1);
    ExchangePlan plan;
    plan.buckets = {{DType::kInt8, Reduction::kSum, 4}};
    bucket = ranks[0].place(plan, ranks.in(20s)).value()[0];
  }
  *bucket = std::byte{5};
  EXPECT_EQ(*bucket, std::byte{5});
}

}  // namespace
}  // namespace tutti::worker
