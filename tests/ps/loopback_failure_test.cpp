// SPDX-License-Identifier: Apache-2.0
// What ranks and shards do over real sockets when one of them fails: every wait ends, and its message names who is
// guilty.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "tests/ps/cluster.h"
#include "tests/ps/raw_rank.h"
#include "tests/ps/reference.h"

namespace tutti::ps {
namespace {

using testing::HasSubstr;

const std::vector<BucketSpec> kSixteenChunks{{DType::kFloat32, Reduction::kSum, 16 * 1024}};
constexpr std::uint64_t kSmallChunkBytes = 4096;

float first(const ClusterRank& rank) {
  float value = 0;
  std::memcpy(&value, rank.memory.front().data(), sizeof value);
  return value;
}

template <class Condition>
void wait_until(Condition condition) {
  const Deadline deadline = in_seconds(20);
  while (!condition() && SteadyClock().now() < deadline) std::this_thread::yield();
  ASSERT_TRUE(condition());
}

TEST(SlowRank, KeepsTheShardsMemoryWithinTheWindow) {
  constexpr int kWindow = 2;
  Cluster cluster(2, 1, kWindow);
  ClusterRank fast(cluster, 0), slow(cluster, 1);
  ASSERT_TRUE(fast.open(kSixteenChunks) && slow.open(kSixteenChunks));
  fill(fast, 1);
  fill(slow, 2);
  ASSERT_TRUE(fast.start(1));
  wait_until([&] { return cluster.server(0).buffer_bytes() == kWindow * kSmallChunkBytes; });
  EXPECT_FALSE(fast.client().finish(0, in_seconds(0)).has_value());
  EXPECT_EQ(cluster.server(0).buffer_bytes(), kWindow * kSmallChunkBytes);
}

TEST(SlowRank, IsWaitedFor) {
  constexpr int kWindow = 2;
  Cluster cluster(2, 1, kWindow);
  ClusterRank fast(cluster, 0), slow(cluster, 1);
  ASSERT_TRUE(fast.open(kSixteenChunks) && slow.open(kSixteenChunks));
  fill(fast, 1);
  fill(slow, 2);
  ASSERT_TRUE(fast.start(1));
  wait_until([&] { return cluster.server(0).buffer_bytes() == kWindow * kSmallChunkBytes; });
  ASSERT_TRUE(slow.start(1));
  ASSERT_TRUE(fast.client().finish(0, in_seconds(20)));
  ASSERT_TRUE(slow.client().finish(0, in_seconds(20)));
  EXPECT_EQ(first(fast), 3.0f);
  EXPECT_EQ(first(slow), 3.0f);
  EXPECT_LE(cluster.server(0).buffer_bytes(), 2 * (kWindow + 1) * kSmallChunkBytes);
}

TEST(MissingRank, IsNamedByTheTimeout) {
  Cluster cluster(3, 1);
  ClusterRank rank(cluster, 0), second(cluster, 2);
  ASSERT_TRUE(rank.open(kSixteenChunks) && second.open(kSixteenChunks));
  ASSERT_TRUE(rank.start(4) && second.start(4));
  const auto finished = rank.client().finish(0, SteadyClock().now() + std::chrono::milliseconds(800));
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::kTimeout);
  EXPECT_EQ(finished.error().text(),
            "the parameter server did not answer in time: step 4: bucket 0, chunk 0 at shard 0 at " +
                cluster.server(0).endpoint().text() + " waits for rank 1");
  EXPECT_EQ(rank.start(5).error().code, Errc::kTimeout);
}

TEST(DroppedRank, LeavesNoHalfFrameBehind) {
  constexpr int kWindow = 2;
  Cluster cluster(2, 1, kWindow);
  ClusterRank other(cluster, 0);
  ASSERT_TRUE(other.open(kSixteenChunks));
  fill(other, 1);
  ASSERT_TRUE(other.start(1));
  {
    RawRank dropped(cluster.server(0).endpoint(), cluster.credentials(Role::kWorker, 1));
    FrameHeader header;
    header.type = FrameType::kPush;
    header.generation = 1;
    header.step = 1;
    header.sender = 1;
    dropped.open({0, 0, 2, 1, kSmallChunkBytes, kSixteenChunks}, header);
    wait_until([&] { return cluster.server(0).buffer_bytes() == kWindow * kSmallChunkBytes; });
    const Bytes poison(kSmallChunkBytes, std::byte{0x7f});
    dropped.push_in_part(header, poison, kSmallChunkBytes / 2);
    wait_until([&] { return cluster.server(0).buffer_bytes() == (kWindow + 1) * kSmallChunkBytes; });
  }
  ClusterRank again(cluster, 1);
  ASSERT_TRUE(again.open(kSixteenChunks));
  fill(again, 2);
  ASSERT_TRUE(again.start(1));
  ASSERT_TRUE(again.client().finish(0, in_seconds(20)));
  ASSERT_TRUE(other.client().finish(0, in_seconds(20)));
  const float three = 3;
  for (const ClusterRank* rank : {&other, &again}) {
    for (std::size_t i = 0; i < rank->memory.front().size(); i += sizeof three) {
      ASSERT_EQ(std::memcmp(rank->memory.front().data() + i, &three, sizeof three), 0) << "at byte " << i;
    }
  }
}

TEST(LostShard, IsNamedWithStepAndBucket) {
  Cluster cluster(2, 2);
  ClusterRank rank(cluster, 0);
  ASSERT_TRUE(rank.open(kSixteenChunks));
  ASSERT_TRUE(rank.start(7));
  wait_until([&] { return cluster.server(1).buffer_bytes() > 0; });
  const std::string name = "shard 1 at " + cluster.server(1).endpoint().text();
  cluster.stop(1);
  const auto finished = rank.client().finish(0, in_seconds(20));
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::kPeerLost);
  EXPECT_THAT(finished.error().text(), HasSubstr(name + " was lost at step 7, bucket 0"));
}

TEST(Abort, EndsAWaitWithItsCause) {
  Cluster cluster(2, 1);
  ClusterRank rank(cluster, 0);
  ASSERT_TRUE(rank.open(kSixteenChunks));
  ASSERT_TRUE(rank.start(1));
  std::thread other([&] { rank.client().abort(fail(Errc::kPeerLost, "rank 1 was killed")); });
  const auto finished = rank.client().finish(0, in_seconds(20));
  other.join();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().text(), "rank 1 was killed");
  EXPECT_EQ(rank.client().poll().error().code, Errc::kPeerLost);
}

TEST(Mismatch, FailsTheOpenOfTheRankThatDiffers) {
  Cluster cluster(2, 1);
  ClusterRank rank(cluster, 0), other(cluster, 1);
  ASSERT_TRUE(rank.open(kSixteenChunks));
  const auto opened = other.open({{DType::kFloat32, Reduction::kSum, 100}});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kMismatch);
  EXPECT_THAT(opened.error().text(), HasSubstr("bucket 0 is 100 elements of F32"));
}

TEST(WrongOrder, IsAMisuseThatEndsTheNextWait) {
  Cluster cluster(1, 1);
  ClusterRank rank(cluster, 0);
  ASSERT_TRUE(rank.open(kSixteenChunks));
  ASSERT_TRUE(rank.start(2));
  ASSERT_TRUE(rank.client().finish(0, in_seconds(20)));
  ASSERT_TRUE(rank.start(1));
  EXPECT_EQ(rank.client().finish(0, in_seconds(20)).error().code, Errc::kUsage);
}

TEST(ClosedObject, IsNotTouchedAnyMore) {
  Cluster cluster(2, 1);
  ClusterRank rank(cluster, 0);
  ASSERT_TRUE(rank.open(kSixteenChunks));
  ASSERT_TRUE(rank.start(1));
  rank.client().close(0);
  rank.forget_memory();
  EXPECT_EQ(rank.client().poll().error().code, Errc::kCancelled);
}

TEST(Connect, FailsWithTheSecretOfAnotherJob) {
  Cluster cluster(1, 1);
  Client::Options options = cluster.client_options(0);
  options.credentials.secret = Secret::random();
  Loop loop;
  NullEventSink events;
  const auto client = Client::connect(loop, options, cluster.clock(), events, in_seconds(20));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::kAuthentication);
  EXPECT_THAT(client.error().text(), HasSubstr("shard 0 at 127.0.0.1"));
}

TEST(Connect, FailsWhereNoShardListens) {
  Cluster cluster(1, 1);
  const Client::Options options = cluster.client_options(0);
  cluster.stop(0);
  Loop loop;
  NullEventSink events;
  const auto client = Client::connect(loop, options, cluster.clock(), events, in_seconds(20));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::kUnavailable);
}

TEST(StrangeRank, IsNotServed) {
  Cluster cluster(1, 1);
  Client::Options options = cluster.client_options(3);
  Loop loop;
  NullEventSink events;
  auto client = Client::connect(loop, options, cluster.clock(), events, in_seconds(20));
  std::vector<std::byte> bucket(kSixteenChunks.front().bytes());
  const auto opened =
      client ? (*client)->open({0, 0, kSixteenChunks, {bucket.data()}}, in_seconds(20)) : Result<>(client.error());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kPeerLost);
}

}  // namespace
}  // namespace tutti::ps
