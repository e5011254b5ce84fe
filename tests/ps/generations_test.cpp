// SPDX-License-Identifier: Apache-2.0
// Ranks and shards that are lost in the middle of an exchange, over real sockets: whoever lives on goes on in the next
// generation, and every rank has the bits of the undisturbed sum.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <limits>
#include <optional>
#include <thread>

#include "tests/ps/cluster.h"

namespace tutti::ps {
namespace {

// Thirty-two chunks, more than the window, over two shards; and what rank 0 broadcasts.
const std::vector<BucketSpec> kBuckets{{DType::kFloat32, Reduction::kAverage, 32 * 1024},
                                       {DType::kFloat32, Reduction::kBroadcast, 100}};
constexpr int kRanks = 3;

struct Ways {
  const char* name;
  bool shares_memory;
  int connections;
};

class Generations : public testing::TestWithParam<Ways> {
 protected:
  Generations() {
    for (int rank = 0; rank < kRanks; ++rank) ranks_.push_back(std::make_unique<ClusterRank>(cluster_, rank));
  }

  static float input(int rank, std::uint64_t step, std::size_t element) {
    return static_cast<float>(element % 1000 + 1) * 0.37f + static_cast<float>(rank) * 1.7f + static_cast<float>(step);
  }
  static std::span<float> floats(ClusterRank& rank, std::size_t bucket) {
    return {reinterpret_cast<float*>(rank.memory[bucket].data()), kBuckets[bucket].elements};
  }
  void fill(int rank, std::uint64_t step) {
    for (std::size_t b = 0; b < kBuckets.size(); ++b) {
      const auto bucket = floats(*at(rank), b);
      for (std::size_t i = 0; i < bucket.size(); ++i) bucket[i] = input(rank, step, i);
    }
  }
  void expect_result(int rank, std::uint64_t step) {
    for (std::size_t b = 0; b < kBuckets.size(); ++b) {
      const auto bucket = floats(*at(rank), b);
      for (std::size_t i = 0; i < bucket.size(); ++i) {
        float expected = input(0, step, i);
        if (b == 0) expected = (expected + input(1, step, i) + input(2, step, i)) / 3.0f;
        ASSERT_EQ(bucket[i], expected) << "rank " << rank << ", bucket " << b << ", element " << i;
      }
    }
  }
  std::unique_ptr<ClusterRank>& at(int rank) { return ranks_[static_cast<std::size_t>(rank)]; }
  /// Ends in the middle of an exchange for everybody but those named here.
  void supersede() {
    for (const auto& rank : ranks_) {
      if (rank) rank->client().abort(fail(Errc::kSuperseded, "a new generation"));
    }
  }
  void reconnect(std::uint32_t generation) {
    std::vector<std::future<Result<>>> all;
    for (const auto& rank : ranks_) {
      all.push_back(std::async(std::launch::async, [&, this] {
        return rank->client().reconnect(generation, cluster_.endpoints(), in_seconds(20));
      }));
    }
    for (auto& one : all) {
      const auto done = one.get();
      ASSERT_TRUE(done) << done.error().text();
    }
  }
  void finish(std::uint64_t step) {
    for (int rank = 0; rank < kRanks; ++rank) {
      const auto done = at(rank)->client().finish(0, in_seconds(20));
      ASSERT_TRUE(done) << done.error().text();
    }
    for (int rank = 0; rank < kRanks; ++rank) expect_result(rank, step);
  }
  void step(std::uint64_t step) {
    for (int rank = 0; rank < kRanks; ++rank) fill(rank, step);
    for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(at(rank)->start(step));
    finish(step);
  }
  void open_all() {
    for (const auto& rank : ranks_) ASSERT_TRUE(rank->open(kBuckets));
  }
  /// Another process in its place, which writes its inputs again.
  void replace(int rank, std::uint32_t generation, std::uint64_t step) {
    at(rank).reset();
    Client::Options options = cluster_.client_options(rank);
    options.credentials.self.generation = generation;
    at(rank) = std::make_unique<ClusterRank>(cluster_, options);
    ASSERT_TRUE(at(rank)->open(kBuckets));
    fill(rank, step);
    ASSERT_TRUE(at(rank)->start(step));
  }

  Cluster cluster_{
      kRanks,
      2,
      4,
      {.connections = GetParam().connections, .shares_memory = GetParam().shares_memory, .outlives_losses = true}};
  std::vector<std::unique_ptr<ClusterRank>> ranks_;
};

TEST_P(Generations, AShardIsReplacedWhileRanksWaitForIt) {
  open_all();
  step(1);
  for (int rank = 0; rank < kRanks; ++rank) fill(rank, 2);
  ASSERT_TRUE(at(0)->start(2) && at(1)->start(2));
  cluster_.stop(1);
  ASSERT_TRUE(at(2)->start(2)) << "shard 0 now sums, shard 1 is gone";
  supersede();
  cluster_.start(1, 2);
  reconnect(2);
  finish(2);
  step(3);
}

TEST_P(Generations, BothShardsAreReplacedAfterSomeResultsCame) {
  open_all();
  step(1);
  for (int rank = 0; rank < kRanks; ++rank) fill(rank, 2);
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(at(rank)->start(2));
  ASSERT_TRUE(at(1)->client().wait(0, 0, in_seconds(20))) << "rank 1 has all of the first bucket";
  supersede();
  for (int shard = 0; shard < 2; ++shard) cluster_.start(shard, 2);
  reconnect(2);
  finish(2);
  step(3);
}

// Some hand on the result of a sum that the others make: who is to blame may be lost, that the step is left out not.
TEST_P(Generations, WhatIsNotFiniteIsToldAlikeAfterALoss) {
  open_all();
  for (int rank = 0; rank < kRanks; ++rank) fill(rank, 1);
  floats(*at(1), 0)[3] = std::numeric_limits<float>::quiet_NaN();
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(at(rank)->start(1));
  ASSERT_TRUE(at(0)->client().wait(0, 0, in_seconds(20)));
  supersede();
  for (const int shard : {0, 1}) cluster_.start(shard, 2);
  reconnect(2);
  for (const auto& rank : ranks_) ASSERT_TRUE(rank->client().finish(0, in_seconds(20)));
  const auto told = at(0)->client().not_finite(0);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].element, 3u);
  EXPECT_TRUE(told[0].rank == 1 || told[0].rank == NotFiniteElement::kNobody) << told[0].rank;
  for (const auto& rank : ranks_) EXPECT_EQ(rank->client().not_finite(0), told);
  step(2);
  EXPECT_TRUE(at(2)->client().not_finite(0).empty());
}

TEST_P(Generations, ARankIsReplacedAndDoesItsPartAgain) {
  open_all();
  step(1);
  for (int rank = 0; rank < kRanks; ++rank) fill(rank, 2);
  for (int rank = 0; rank < kRanks; ++rank) {
    // The lost one has pushed its first bucket only.
    if (rank == 1) {
      ASSERT_TRUE(at(1)->client().start(0, {2, 0}, 0));
    } else {
      ASSERT_TRUE(at(rank)->start(2));
    }
  }
  at(1).reset();
  supersede();
  const auto first = std::async(std::launch::async, [this] { replace(1, 2, 2); });
  std::vector<std::future<Result<>>> others;
  for (const int rank : {0, 2}) {
    others.push_back(std::async(std::launch::async, [this, rank] {
      return at(rank)->client().reconnect(2, cluster_.endpoints(), in_seconds(20));
    }));
  }
  for (auto& other : others) ASSERT_TRUE(other.get());
  first.wait();
  finish(2);
  step(3);
}

TEST_P(Generations, AnotherLossComesBeforeTheFirstIsMended) {
  open_all();
  for (int rank = 0; rank < kRanks; ++rank) fill(rank, 1);
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(at(rank)->start(1));
  supersede();
  cluster_.start(0, 2);
  // Rank 0 has reached the shards in generation 2; then another generation begins.
  ASSERT_TRUE(at(0)->client().reconnect(2, cluster_.endpoints(), in_seconds(20)));
  supersede();
  cluster_.start(1, 3);
  reconnect(3);
  finish(1);
  step(2);
}

// What the lost shard had summed is told by marks of their own, which no sum could make: each rank's bucket holds its
// number there, and the scratch another.
TEST_P(Generations, AShardIsReplacedThatHadSummedPartOfAChunk) {
  if (!GetParam().shares_memory) GTEST_SKIP() << "no shard sums in a bucket";
  constexpr std::size_t kBlock = ChunkJournal::kBlockBytes / sizeof(float);
  open_all();
  step(1);
  for (int rank = 0; rank < kRanks; ++rank) fill(rank, 2);
  cluster_.stop(0);
  cluster_.stop(1);
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(at(rank)->start(2));
  const ObjectTable table{0, 0, kRanks, 2, 4096, kBuckets, GetParam().connections};
  auto places = host_places(cluster_.placement(0), table, cluster_.clock(), in_seconds(20));
  ASSERT_TRUE(places && places->journal);
  ChunkJournal& journal = *places->journal;
  const std::uint64_t stamp = stamp_of(1, {2, 0});
  const ShardMap map(ChunkPlan(table.buckets, table.chunk_bytes), 2);
  const int shard = map.shard_of(ChunkPlan(table.buckets, table.chunk_bytes).chunks()[1]);
  journal.begin(0, stamp);  // the first chunk: its first block is copied
  journal.mark_copied(0, 0, 0, 1);
  journal.begin(1, stamp);  // the next one: its second block lies in a scratch, and in some bucket in part
  std::fill_n(reinterpret_cast<float*>(journal.scratch(shard, 2)), kBlock, 500.0f);
  journal.mark_summed(1, 2, 1, 1);
  for (int rank = 0; rank < kRanks; ++rank)
    std::fill_n(floats(*at(rank), 0).begin(), kBlock, 100.0f + static_cast<float>(rank));
  floats(*at(1), 0)[3 * kBlock] = 0;

  supersede();
  for (int number = 0; number < 2; ++number) cluster_.start(number, 2);
  reconnect(2);
  for (int rank = 0; rank < kRanks; ++rank) {
    ASSERT_TRUE(at(rank)->client().finish(0, in_seconds(20)));
    const auto bucket = floats(*at(rank), 0);
    for (std::size_t i = 0; i < bucket.size(); ++i) {
      float expected = (input(0, 2, i) + input(1, 2, i) + input(2, 2, i)) / 3.0f;
      if (i < kBlock) expected = 100;
      if (i >= 3 * kBlock && i < 4 * kBlock) expected = 500;
      ASSERT_EQ(bucket[i], expected) << "rank " << rank << ", element " << i;
    }
  }
  step(3);
}

TEST_P(Generations, AStaleRankIsRefused) {
  open_all();
  step(1);
  supersede();
  reconnect(2);
  Client::Options options = cluster_.client_options(1);
  options.outlives_losses = false;  // it would try again for ever
  Loop loop;
  EventBuffer events(16);
  auto stale = Client::connect(loop, options, cluster_.clock(), events, in_seconds(20));
  if (stale) {
    const Result<> opened = (*stale)->open({0, 0, kBuckets, {nullptr, nullptr}}, in_seconds(20));
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::kPeerLost);
  }
  step(2);
}

INSTANTIATE_TEST_SUITE_P(Ways, Generations,
                         testing::Values(Ways{"Sockets", false, 1}, Ways{"ThreeConnections", false, 3},
                                         Ways{"SharedMemory", true, 1}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tutti::ps
