// SPDX-License-Identifier: Apache-2.0
#include "ps/chunk_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace tutti::ps {
namespace {

std::vector<BucketSpec> floats(std::initializer_list<std::uint64_t> elements) {
  std::vector<BucketSpec> buckets;
  for (const auto count : elements) buckets.push_back({DType::kFloat32, Reduction::kAverage, count});
  return buckets;
}

std::vector<std::uint64_t> bytes_by_shard(const ChunkPlan& plan, int shards) {
  const ShardMap map(plan, shards);
  std::vector<std::uint64_t> bytes(static_cast<std::size_t>(shards), 0);
  for (const Chunk& chunk : plan.chunks()) bytes[static_cast<std::size_t>(map.shard_of(chunk))] += chunk.bytes;
  return bytes;
}

TEST(ChunkPlan, CoversEachBucketWithoutGapOrOverlap) {
  std::mt19937 random(3);
  std::uniform_int_distribution<std::uint64_t> elements(0, 5000);
  for (int round = 0; round < 50; ++round) {
    std::vector<BucketSpec> buckets;
    for (int i = 0; i < 8; ++i) {
      buckets.push_back({static_cast<DType>(i), Reduction::kSum, elements(random)});
    }
    const std::uint64_t chunk_bytes = kChunkAlignment * (1 + random() % 20);
    const ChunkPlan plan(buckets, chunk_bytes);
    std::uint32_t index = 0;
    for (std::uint32_t bucket = 0; bucket < buckets.size(); ++bucket) {
      std::uint64_t end = 0;
      for (const Chunk& chunk : plan.of_bucket(bucket)) {
        EXPECT_EQ(chunk.index, index++);
        EXPECT_EQ(chunk.bucket, bucket);
        EXPECT_EQ(chunk.offset_bytes, end);
        EXPECT_EQ(chunk.offset_bytes % kChunkAlignment, 0u);
        EXPECT_GT(chunk.bytes, 0u);
        EXPECT_LE(chunk.bytes, chunk_bytes);
        EXPECT_EQ(chunk.bytes % size_of(chunk.dtype), 0u);
        end += chunk.bytes;
      }
      EXPECT_EQ(end, buckets[bucket].bytes());
      EXPECT_EQ(plan.of_bucket(bucket).size(), chunk_count(buckets[bucket].bytes(), chunk_bytes));
    }
    EXPECT_EQ(index, plan.chunks().size());
  }
}

TEST(ChunkPlan, CutsABucketIntoNearlyEqualChunks) {
  const ChunkPlan plan(floats({1025}), 4096);  // a crumb of 4 bytes is what is to be avoided
  ASSERT_EQ(plan.chunks().size(), 2u);
  EXPECT_EQ(plan.chunks()[0].bytes, 2112u);
  EXPECT_EQ(plan.chunks()[1].bytes, 4100u - 2112u);
}

TEST(ChunkPlan, GivesAnEmptyBucketNoChunk) {
  const ChunkPlan plan(floats({0, 10, 0}), 64);
  EXPECT_TRUE(plan.of_bucket(0).empty());
  EXPECT_EQ(plan.of_bucket(1).size(), 1u);
  EXPECT_TRUE(plan.of_bucket(2).empty());
  EXPECT_EQ(ChunkPlan({}, 64).largest_bytes(), 0u);
}

TEST(ChunkPlan, CarriesWhatABucketIs) {
  const std::vector<BucketSpec> buckets{{DType::kBFloat16, Reduction::kSum, 3},
                                        {DType::kInt64, Reduction::kBroadcast, 9}};
  const ChunkPlan plan(buckets, 1024);
  EXPECT_EQ(plan.chunks()[0].dtype, DType::kBFloat16);
  EXPECT_EQ(plan.chunks()[0].reduction, Reduction::kSum);
  EXPECT_EQ(plan.chunks()[1].reduction, Reduction::kBroadcast);
  EXPECT_EQ(plan.largest_bytes(), 72u);
}

TEST(ChunkPlan, RoundsChunkSizesDownToTheAlignment) {
  EXPECT_EQ(aligned_chunk_bytes(1), 64u);
  EXPECT_EQ(aligned_chunk_bytes(127), 64u);
  EXPECT_EQ(aligned_chunk_bytes(1u << 20), 1u << 20);
}

TEST(ShardMap, DealsNearlyTheSameBytesToEveryShard) {
  const ChunkPlan plan(floats({1 << 20, 300000, 77, 1 << 18, 900001}), 64 << 10);
  for (const int shards : {1, 2, 3, 5, 8}) {
    const auto bytes = bytes_by_shard(plan, shards);
    const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
    EXPECT_LE(*most - *least, plan.largest_bytes()) << shards << " shards";
  }
}

TEST(ShardMap, SpreadsEveryBucketOverTheShards) {
  const ChunkPlan plan(floats({1 << 18, 1 << 18, 1 << 18}), 64 << 10);
  const ShardMap map(plan, 4);
  for (std::uint32_t bucket = 0; bucket < 3; ++bucket) {
    std::set<int> shards;
    for (const Chunk& chunk : plan.of_bucket(bucket)) shards.insert(map.shard_of(chunk));
    EXPECT_EQ(shards.size(), 4u) << "bucket " << bucket;
  }
}

TEST(ShardMap, LeavesShardsEmptyWhereThereAreMoreThanChunks) {
  const ChunkPlan plan(floats({10, 10}), 64);
  const auto bytes = bytes_by_shard(plan, 300);
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 0u), 298);
}

TEST(ShardMap, MovesWholeSlots) {
  const ChunkPlan plan(floats({100000}), 64);  // many more chunks than slots
  const ShardMap map(plan, 7);
  std::vector<int> shard_of_slot(kSlots, -1);
  for (const Chunk& chunk : plan.chunks()) {
    ASSERT_LT(chunk.slot, kSlots);
    int& shard = shard_of_slot[chunk.slot];
    if (shard == -1) shard = map.shard_of(chunk);
    EXPECT_EQ(shard, map.shard_of(chunk));
  }
}

TEST(DealLargestFirst, GivesTheNextLargestToTheLeastLoaded) {
  const std::vector<std::uint64_t> weights{2, 7, 3, 5};
  EXPECT_EQ(deal_largest_first(weights, 2), (std::vector<std::uint32_t>{0, 0, 1, 1}));
}

TEST(DealLargestFirst, KeepsEqualWeightsInTheirOrder) {
  const std::vector<std::uint64_t> weights{4, 4, 4, 4};
  EXPECT_EQ(deal_largest_first(weights, 3), (std::vector<std::uint32_t>{0, 1, 2, 0}));
}

TEST(ShardMap, DealsAShardsChunksToItsConnectionsInTurn) {
  const std::vector<BucketSpec> buckets{{DType::kFloat32, Reduction::kSum, 16 * 100}};
  const ChunkPlan plan(buckets, 64);
  const ShardMap map(plan, 2, 3);
  std::vector<int> next(2, 0);
  for (const Chunk& chunk : plan.chunks()) {
    int& turn = next[static_cast<std::size_t>(map.shard_of(chunk))];
    EXPECT_EQ(map.connection_of(chunk), turn++ % 3);
  }
  EXPECT_GT(next[0], 3);
  EXPECT_GT(next[1], 3);
}

}  // namespace
}  // namespace tutti::ps
