// SPDX-License-Identifier: Apache-2.0
// When a shard and a rank use the memory of their host, and what they do where they cannot.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/ps/byte_counts.h"
#include "tests/ps/cluster.h"

namespace tutti::ps {
namespace {

const std::vector<BucketSpec> kSharedBuckets{{DType::kFloat32, Reduction::kSum, 5000}};

float last(const ClusterRank& rank) {
  float value = 0;
  std::memcpy(&value, rank.memory[0].data() + rank.memory[0].size() - sizeof value, sizeof value);
  return value;
}

/// One exchange of 1 and 2; what the shard read from sockets.
class Sharing : public testing::Test {
 protected:
  void exchange(ClusterRank& one, ClusterRank& other, std::uint64_t step = 1) {
    fill(one, 1);
    fill(other, 2);
    ASSERT_TRUE(one.start(step) && other.start(step));
    const auto finished = one.client().finish(0, in_seconds(20));
    ASSERT_TRUE(finished) << finished.error().text();
    ASSERT_TRUE(other.client().finish(0, in_seconds(20)));
    EXPECT_EQ(last(one), 3.0f);
    EXPECT_EQ(last(other), 3.0f);
  }
  std::size_t received() const { return meter_.all(BytePass::kRead); }

  ByteCounts meter_;
  Cluster cluster_{2, 1, 4, {.shares_memory = true, .meter = &meter_}};
};

TEST_F(Sharing, SendsNothingThroughTheSocket) {
  ClusterRank one(cluster_, 0), other(cluster_, 1);
  ASSERT_TRUE(one.open(kSharedBuckets) && other.open(kSharedBuckets));
  exchange(one, other, 1);
  exchange(one, other, 2);
  EXPECT_EQ(received(), 0u);
}

TEST_F(Sharing, IsLeftOutWhereARankIsToldToUseSockets) {
  Client::Options options = cluster_.client_options(1);
  options.placement = {};
  ClusterRank one(cluster_, 0), other(cluster_, options);
  ASSERT_TRUE(one.open(kSharedBuckets) && other.open(kSharedBuckets));
  exchange(one, other);
  EXPECT_EQ(received(), kSharedBuckets[0].bytes());
}

TEST_F(Sharing, IsLeftOutForBucketsThatLieElsewhere) {
  ClusterRank one(cluster_, 0), other(cluster_, 1);
  ASSERT_TRUE(one.open(kSharedBuckets) && other.open(kSharedBuckets));
  std::vector<std::byte> elsewhere(kSharedBuckets[0].bytes());
  one.memory[0] = elsewhere;
  ASSERT_TRUE(one.client().open({0, 0, kSharedBuckets, {elsewhere.data()}}, in_seconds(20)));
  exchange(one, other);
  EXPECT_EQ(received(), kSharedBuckets[0].bytes());
  one.client().close(0);
}

TEST_F(Sharing, FallsBackToTheSocketWhereTheShardIsOfAnotherHost) {
  Cluster elsewhere(2, 1, 4, {.shares_memory = true, .meter = &meter_});
  Client::Options first = elsewhere.client_options(0), second = elsewhere.client_options(1);
  first.placement = cluster_.placement(0);
  second.placement = cluster_.placement(1);
  ClusterRank one(elsewhere, first), other(elsewhere, second);
  ASSERT_TRUE(one.open(kSharedBuckets) && other.open(kSharedBuckets));
  exchange(one, other);
  EXPECT_EQ(received(), 2 * kSharedBuckets[0].bytes());
}

TEST_F(Sharing, FallsBackToTheSocketWhereTheShardCannotHaveTheMemory) {
  ClusterRank one(cluster_, 0), other(cluster_, 1);
  ASSERT_TRUE(one.place(kSharedBuckets) && other.place(kSharedBuckets));
  const ObjectTable plan{0, 1, 2, 1, 4096, kSharedBuckets};
  const auto later = host_places(cluster_.placement(0), plan, cluster_.clock(), in_seconds(20));
  ASSERT_TRUE(later) << "from here on the keeper refuses the memory of the earlier plan";
  for (ClusterRank* rank : {&one, &other}) {
    ASSERT_TRUE(rank->client().open({0, 0, kSharedBuckets, {rank->memory[0].data()}}, in_seconds(20)));
  }
  exchange(one, other);
  EXPECT_EQ(received(), 2 * kSharedBuckets[0].bytes());
}

TEST_F(Sharing, FailsARankWhoseOwnMemoryCannotBeHad) {
  ClusterRank one(cluster_, 0), other(cluster_, 1);
  ASSERT_TRUE(one.place(kSharedBuckets));
  const auto placed = other.place({{DType::kFloat32, Reduction::kSum, 5001}});
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().code, Errc::kMismatch);
}

TEST_F(Sharing, GoesOnWithARankThatComesAgain) {
  ClusterRank other(cluster_, 1);
  ASSERT_TRUE(other.open(kSharedBuckets));
  {
    ClusterRank gone(cluster_, 0);
    ASSERT_TRUE(gone.open(kSharedBuckets));
  }
  ClusterRank again(cluster_, 0);
  ASSERT_TRUE(again.open(kSharedBuckets));
  exchange(again, other);
  EXPECT_EQ(received(), 0u);
}

TEST(SeveralConnections, AreAllReplacedWhenTheRankComesAgain) {
  Cluster cluster(2, 2, 1, {.connections = 3});
  ClusterRank other(cluster, 1);
  ASSERT_TRUE(other.open(kSharedBuckets));
  ClusterRank unnoticed(cluster, 0);  // its connections stay open
  ASSERT_TRUE(unnoticed.open(kSharedBuckets));
  ClusterRank again(cluster, 0);
  ASSERT_TRUE(again.open(kSharedBuckets));
  fill(again, 1);
  fill(other, 2);
  ASSERT_TRUE(again.start(1) && other.start(1));
  ASSERT_TRUE(again.client().finish(0, in_seconds(20)));
  ASSERT_TRUE(other.client().finish(0, in_seconds(20)));
  EXPECT_EQ(last(again), 3.0f);
  EXPECT_EQ(last(other), 3.0f);
  (void)unnoticed.start(1);
  EXPECT_EQ(unnoticed.client().finish(0, in_seconds(20)).error().code, Errc::kPeerLost);
}

TEST(SeveralConnections, MustBeAsManyOnEveryRank) {
  Cluster cluster(2, 1, 4, {.connections = 2});
  ClusterRank one(cluster, 0);
  ASSERT_TRUE(one.open(kSharedBuckets));
  Client::Options options = cluster.client_options(1);
  options.connections = 3;
  ClusterRank other(cluster, options);
  const auto opened = other.open(kSharedBuckets);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kMismatch);
}

}  // namespace
}  // namespace tutti::ps
