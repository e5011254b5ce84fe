// SPDX-License-Identifier: Apache-2.0
// Ranks and shards over real sockets and in real shared memory: the same bits on every rank and either way, those of
// the plain loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <thread>

#include "tests/ps/cluster.h"
#include "tests/ps/reference.h"

namespace tutti::ps {
namespace {

constexpr std::uint64_t kSteps = 20;

/// Of odd sizes: nothing here is a multiple of a chunk or of a vector.
const std::vector<BucketSpec> kOddBuckets{
    {DType::kFloat32, Reduction::kAverage, 10007}, {DType::kFloat64, Reduction::kAverage, 1},
    {DType::kBFloat16, Reduction::kAverage, 4999}, {DType::kFloat16, Reduction::kSum, 3001},
    {DType::kInt64, Reduction::kSum, 129},         {DType::kFloat32, Reduction::kAverage, 0},
    {DType::kUInt8, Reduction::kBroadcast, 5003},
};

Bytes input_of(std::uint64_t step, int rank, std::size_t bucket) {
  std::mt19937 random(static_cast<unsigned>(step * 1000 + static_cast<std::uint64_t>(rank) * 100 + bucket));
  return random_bytes(kOddBuckets[bucket].dtype, kOddBuckets[bucket].elements, random);
}

Bytes expected_of(std::uint64_t step, int ranks, std::size_t bucket) {
  std::vector<Bytes> inputs;
  for (int rank = 0; rank < ranks; ++rank) inputs.push_back(input_of(step, rank, bucket));
  return reference_reduce(kOddBuckets[bucket].dtype, kOddBuckets[bucket].reduction, inputs);
}

void train(Cluster& cluster, Client::Options options, int ranks) {
  const int rank = options.credentials.self.rank;
  ClusterRank self(cluster, std::move(options));
  const auto opened = self.open(kOddBuckets);
  ASSERT_TRUE(opened) << opened.error().text();
  for (std::uint64_t step = 1; step <= kSteps; ++step) {
    for (std::uint32_t bucket = 0; bucket < kOddBuckets.size(); ++bucket) {
      const Bytes input = input_of(step, rank, bucket);
      std::copy(input.begin(), input.end(), self.memory[bucket].begin());
      ASSERT_TRUE(self.client().start(0, {step, 0}, bucket));
    }
    const auto finished = self.client().finish(0, in_seconds(60));
    ASSERT_TRUE(finished) << finished.error().text();
    for (std::size_t bucket = 0; bucket < kOddBuckets.size(); ++bucket) {
      ASSERT_TRUE(std::ranges::equal(self.memory[bucket], expected_of(step, ranks, bucket)))
          << "rank " << rank << " step " << step << " bucket " << bucket;
    }
  }
  self.client().close(0);
}

enum class WhoShares { kNobody, kEvenRanks, kEverybody };

struct Size {
  int ranks;
  int shards;
  WhoShares sharing = WhoShares::kNobody;
  int connections = 1;
};

class Loopback : public testing::TestWithParam<Size> {};

TEST_P(Loopback, GivesEveryRankTheBitsOfThePlainLoop) {
  const auto [ranks, shards, sharing, connections] = GetParam();
  Cluster cluster(ranks, shards, 4, {.connections = connections, .shares_memory = sharing != WhoShares::kNobody});
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    Client::Options options = cluster.client_options(rank);
    if (sharing == WhoShares::kEvenRanks && rank % 2 == 1) options.placement = {};
    threads.emplace_back([&cluster, options, ranks = ranks] { train(cluster, options, ranks); });
  }
  for (std::thread& thread : threads) thread.join();
}

std::vector<Size> sizes() {
  std::vector<Size> sizes;
  for (int ranks = 1; ranks <= 4; ++ranks) {
    for (int shards = 1; shards <= 3; ++shards) sizes.push_back({ranks, shards});
    sizes.push_back({ranks, 2, WhoShares::kNobody, 3});
    sizes.push_back({ranks, 2, WhoShares::kEvenRanks});
    sizes.push_back({ranks, 2, WhoShares::kEverybody});
  }
  sizes.push_back({3, 1, WhoShares::kEvenRanks, 2});
  return sizes;
}

std::string name_of(const Size& size) {
  constexpr const char* sharing[] = {"", "EvenRanksShare", "AllShare"};
  std::string name = std::to_string(size.ranks) + "RanksOn" + std::to_string(size.shards) + "Shards";
  if (size.connections > 1) name += "By" + std::to_string(size.connections) + "Connections";
  return name + sharing[static_cast<std::size_t>(size.sharing)];
}

INSTANTIATE_TEST_SUITE_P(Worlds, Loopback, testing::ValuesIn(sizes()),
                         [](const auto& info) { return name_of(info.param); });

TEST(LoopbackSums, AreTheSameBitsByOneThreadAndBySeveral) {
  const std::vector<BucketSpec> buckets{{DType::kFloat32, Reduction::kAverage, 300'001}};
  constexpr std::uint64_t kOneChunk = 2 << 20;
  std::mt19937 random(7);
  const std::vector<Bytes> inputs{random_bytes(DType::kFloat32, 300'001, random),
                                  random_bytes(DType::kFloat32, 300'001, random)};
  Cluster cluster(2, 1, 4, {.shares_memory = true, .sum_helpers = 2});
  ClusterRank first(cluster, 0, kOneChunk), second(cluster, 1, kOneChunk);
  ASSERT_TRUE(first.place(buckets) && second.place(buckets));
  std::ranges::copy(inputs[0], first.memory[0].begin());
  std::ranges::copy(inputs[1], second.memory[0].begin());
  for (ClusterRank* rank : {&first, &second}) {
    ASSERT_TRUE(rank->client().open({0, 0, buckets, {rank->memory[0].data()}}, in_seconds(20)));
    ASSERT_TRUE(rank->start(1));
  }
  const Bytes expected = reference_reduce(DType::kFloat32, Reduction::kAverage, inputs);
  for (ClusterRank* rank : {&first, &second}) {
    ASSERT_TRUE(rank->client().finish(0, in_seconds(20)));
    EXPECT_TRUE(std::ranges::equal(rank->memory[0], expected));
  }
}

TEST(LoopbackObjects, ShareTheConnections) {
  Cluster cluster(1, 2);
  ClusterRank rank(cluster, 0);
  ASSERT_TRUE(rank.open({{DType::kFloat32, Reduction::kAverage, 5000}}, 0));
  std::vector<std::byte> other(12);
  ASSERT_TRUE(rank.client().open({1, 0, {{DType::kInt32, Reduction::kSum, 3}}, {other.data()}}, in_seconds(20)));
  ASSERT_TRUE(rank.client().start(1, {1, 0}, 0));
  ASSERT_TRUE(rank.start(1, 0));
  EXPECT_TRUE(rank.client().finish(0, in_seconds(20)));
  EXPECT_TRUE(rank.client().finish(1, in_seconds(20)));
}

TEST(LoopbackObjects, TakeALaterPlanWithOtherBuckets) {
  Cluster cluster(1, 1);
  ClusterRank rank(cluster, 0);
  ASSERT_TRUE(rank.open({{DType::kFloat32, Reduction::kAverage, 5000}}));
  ASSERT_TRUE(rank.start(1));
  ASSERT_TRUE(rank.client().finish(0, in_seconds(20)));
  std::vector<std::byte> later(400, std::byte{7});
  ASSERT_TRUE(rank.client().open({0, 1, {{DType::kUInt8, Reduction::kSum, 400}}, {later.data()}}, in_seconds(20)));
  ASSERT_TRUE(rank.client().start(0, {2, 0}, 0));
  ASSERT_TRUE(rank.client().finish(0, in_seconds(20)));
  EXPECT_EQ(later, std::vector<std::byte>(400, std::byte{7}));
}

TEST(LoopbackEvents, TellOfEveryBucketAndEveryChunk) {
  Cluster cluster(1, 1);
  ClusterRank rank(cluster, 0);
  ASSERT_TRUE(rank.open({{DType::kFloat32, Reduction::kAverage, 2048}}));  // two chunks
  ASSERT_TRUE(rank.start(3));
  ASSERT_TRUE(rank.client().finish(0, in_seconds(20)));
  rank.disconnect();  // the last chunk may be told to be sent after its result has come
  std::multiset<EventKind> kinds;
  for (const Event& event : rank.events().events()) {
    EXPECT_EQ(event.step, 3u);
    kinds.insert(event.kind);
  }
  EXPECT_EQ(kinds, (std::multiset<EventKind>{EventKind::kBucketReady, EventKind::kBucketDone, EventKind::kPushStarted,
                                             EventKind::kPushStarted, EventKind::kChunkSent, EventKind::kChunkSent,
                                             EventKind::kResultArriving, EventKind::kResultArriving,
                                             EventKind::kChunkReceived, EventKind::kChunkReceived}));
  cluster.stop(0);
  const auto of_shard = cluster.events().events();
  for (const EventKind kind : {EventKind::kPushArrived, EventKind::kChunkSummed}) {
    EXPECT_EQ(std::ranges::count(of_shard, kind, &Event::kind), 2) << name_of(kind);
  }
}

}  // namespace
}  // namespace tutti::ps
