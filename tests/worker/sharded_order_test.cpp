// SPDX-License-Identifier: Apache-2.0
#include "worker/sharded_order.h"

#include <gtest/gtest.h>

#include <map>

namespace tutti::worker {
namespace {

std::map<std::size_t, int> count_epoch(ShardedOrder& order, int ranks, std::uint64_t epoch) {
  order.begin_epoch(epoch);
  std::map<std::size_t, int> seen;
  for (std::size_t step = 0; step < order.steps_per_epoch(); ++step) {
    for (int rank = 0; rank < ranks; ++rank) {
      for (const std::size_t sample : order.indices(step, rank)) ++seen[sample];
    }
  }
  return seen;
}

TEST(ShardedOrder, ShowsEverySampleOnceWhenTheBatchesFit) {
  ShardedOrder order(96, 8, 3, 7);
  const auto seen = count_epoch(order, 3, 0);
  EXPECT_EQ(seen.size(), 96u);
  for (const auto& [sample, times] : seen) EXPECT_EQ(times, 1) << sample;
}

TEST(ShardedOrder, FillsTheLastBatchFromTheEpochsBeginning) {
  ShardedOrder order(100, 8, 3, 7);
  EXPECT_EQ(order.steps_per_epoch(), 5u);
  const auto seen = count_epoch(order, 3, 0);
  EXPECT_EQ(seen.size(), 100u);
  int repeats = 0;
  for (const auto& [sample, times] : seen) repeats += times - 1;
  EXPECT_EQ(repeats, 5 * 24 - 100);
}

TEST(ShardedOrder, DropsTheRestWhenAsked) {
  ShardedOrder order(100, 8, 3, 7, LastBatch::kDrop);
  EXPECT_EQ(order.steps_per_epoch(), 4u);
  EXPECT_EQ(count_epoch(order, 3, 0).size(), 96u);
}

TEST(ShardedOrder, DependsOnSeedEpochAndRanksAndOnNothingElse) {
  const auto first = [](std::uint64_t seed, std::uint64_t epoch, int ranks) {
    ShardedOrder order(1000, 10, ranks, seed);
    order.begin_epoch(epoch);
    return order.indices(0, 0);
  };
  EXPECT_EQ(first(1, 2, 3), first(1, 2, 3));
  EXPECT_NE(first(1, 2, 3), first(2, 2, 3));
  EXPECT_NE(first(1, 2, 3), first(1, 3, 3));
  EXPECT_NE(first(1, 2, 3), first(1, 2, 4));
}

TEST(ShardedOrder, OfMoreRanksThanSamplesWrapsAsOftenAsItTakes) {
  ShardedOrder order(3, 2, 5, 1);
  EXPECT_EQ(order.steps_per_epoch(), 1u);
  EXPECT_EQ(count_epoch(order, 5, 0).size(), 3u);
}

}  // namespace
}  // namespace tutti::worker
