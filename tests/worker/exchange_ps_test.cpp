// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_ps.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace tutti::worker
