// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_ps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "tests/ps/cluster.h"

namespace tutti::worker {
namespace {

using ps::in_seconds;

class TwoRanks : public testing::Test {
 protected:
  ExchangePlan plan_for(std::vector<float>& bucket) const {
    return {
        0, 0, {{DType::kFloat32, Reduction::kAverage, bucket.size()}}, {reinterpret_cast<std::byte*>(bucket.data())}};
  }

  ps::Cluster cluster_{2, 2};
  ps::ClusterRank first_{cluster_, 0}, second_{cluster_, 1};
  std::vector<float> ones_ = std::vector<float>(5000, 1.0f), threes_ = std::vector<float>(5000, 3.0f);
};

TEST_F(TwoRanks, AverageTheirBuckets) {
  const auto one = make_ps_exchange(first_.client());
  const auto other = make_ps_exchange(second_.client());
  EXPECT_EQ(one->traits().name, "ps");
  EXPECT_TRUE(one->traits().rank_ordered);
  ASSERT_TRUE(one->open(plan_for(ones_), in_seconds(20)));
  ASSERT_TRUE(other->open(plan_for(threes_), in_seconds(20)));
  ASSERT_TRUE(one->start({1, 0}, 0) && other->start({1, 0}, 0));
  ASSERT_TRUE(one->poll());
  ASSERT_TRUE(one->finish(in_seconds(20)) && other->finish(in_seconds(20)));
  EXPECT_EQ(ones_, std::vector<float>(5000, 2.0f));
  EXPECT_EQ(threes_, ones_);
}

TEST_F(TwoRanks, WaitForOneBucketWhileAnotherIsStillMissing) {
  const auto one = make_ps_exchange(first_.client());
  const auto other = make_ps_exchange(second_.client());
  const auto two_buckets = [this](std::vector<float>& bucket) {
    ExchangePlan plan = plan_for(bucket);
    plan.buckets = {{DType::kFloat32, Reduction::kSum, 2000}, {DType::kFloat32, Reduction::kSum, 3000}};
    plan.memory.push_back(plan.memory[0] + 2000 * sizeof(float));
    return plan;
  };
  ASSERT_TRUE(one->open(two_buckets(ones_), in_seconds(20)));
  ASSERT_TRUE(other->open(two_buckets(threes_), in_seconds(20)));
  ASSERT_TRUE(one->start({1, 0}, 0) && one->start({1, 0}, 1) && other->start({1, 0}, 0));
  ASSERT_TRUE(one->wait(0, in_seconds(20)));
  EXPECT_EQ(ones_[1999], 4.0f);
  EXPECT_EQ(ones_[2000], 1.0f);
  ASSERT_TRUE(other->start({1, 0}, 1));
  ASSERT_TRUE(one->wait(1, in_seconds(20)) && other->finish(in_seconds(20)));
  EXPECT_EQ(ones_, std::vector<float>(5000, 4.0f));
}

TEST_F(TwoRanks, EndTheirWaitWithTheCauseOfAnAbort) {
  const auto one = make_ps_exchange(first_.client());
  ASSERT_TRUE(one->open(plan_for(ones_), in_seconds(20)));
  ASSERT_TRUE(one->start({1, 0}, 0));
  std::thread loop([&] { one->abort(fail(Errc::kPeerLost, "rank 1 was killed")); });
  const auto finished = one->finish(in_seconds(20));
  loop.join();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().text(), "rank 1 was killed");
  EXPECT_FALSE(one->poll());
  EXPECT_FALSE(one->start({2, 0}, 0));
}

TEST_F(TwoRanks, LetTheirMemoryGoWithTheExchange) {
  auto one = make_ps_exchange(first_.client());
  ASSERT_TRUE(one->open(plan_for(ones_), in_seconds(20)));
  ASSERT_TRUE(one->start({1, 0}, 0));
  one.reset();
  ones_ = {};
  EXPECT_EQ(first_.client().poll().error().code, Errc::kCancelled);
}

TEST(RanksOfOneHost, ExchangeWhereTheShardsReachTheirBuckets) {
  ps::Cluster cluster(2, 2, 4, {.shares_memory = true});
  ps::ClusterRank first(cluster, 0), second(cluster, 1);
  const auto one = make_ps_exchange(first.client());
  const auto other = make_ps_exchange(second.client());
  ExchangePlan plan{0, 0, {{DType::kFloat32, Reduction::kAverage, 5000}}, {}};
  const auto ones = one->place(plan, in_seconds(20)), threes = other->place(plan, in_seconds(20));
  ASSERT_TRUE(ones && threes);
  float* const mine = reinterpret_cast<float*>(ones->front().get());
  float* const theirs = reinterpret_cast<float*>(threes->front().get());
  EXPECT_EQ(std::count(mine, mine + 5000, 0.0f), 5000);
  plan.memory = {ones->front().get()};
  ASSERT_TRUE(one->open(plan, in_seconds(20)));
  plan.memory = {threes->front().get()};
  ASSERT_TRUE(other->open(plan, in_seconds(20)));
  std::fill_n(mine, 5000, 1.0f);
  std::fill_n(theirs, 5000, 3.0f);
  ASSERT_TRUE(one->start({1, 0}, 0) && other->start({1, 0}, 0));
  ASSERT_TRUE(one->finish(in_seconds(20)) && other->finish(in_seconds(20)));
  EXPECT_EQ(std::count(mine, mine + 5000, 2.0f), 5000);
  EXPECT_EQ(std::count(theirs, theirs + 5000, 2.0f), 5000);
}

TEST_F(TwoRanks, OfferNoMemoryWhereNoneIsShared) {
  const auto placed = make_ps_exchange(first_.client())->place(plan_for(ones_), in_seconds(20));
  ASSERT_TRUE(placed);
  EXPECT_TRUE(placed->empty());
}

}  // namespace
}  // namespace tutti::worker
