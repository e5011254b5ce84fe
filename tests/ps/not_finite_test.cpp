// SPDX-License-Identifier: Apache-2.0
// Numbers that are not finite, over every way from a rank to a shard: all ranks are told the same, and the results are
// those of the plain loop.
#include "ps/not_finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/ps/cluster.h"

namespace tutti::ps {
namespace {

constexpr int kThreeRanks = 3;
constexpr std::uint64_t kLong = 300'001;  // elements: more than a thread of a sum takes for itself
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity(),
                kHuge = std::numeric_limits<float>::max();
using Found = std::vector<NotFiniteResultElement>;

struct Way {
  const char* name;
  ClusterWays ways;
  std::uint64_t chunk_bytes;
};

class NotFiniteInputs : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    for (int rank = 0; rank < kThreeRanks; ++rank) {
      ranks_.push_back(std::make_unique<ClusterRank>(cluster_, rank, GetParam().chunk_bytes));
      ASSERT_TRUE(ranks_.back()->open(kSpecs));
    }
  }
  std::span<float> bucket(int rank, std::size_t number) {
    const auto& bytes = ranks_[static_cast<std::size_t>(rank)]->memory[number];
    return {reinterpret_cast<float*>(bytes.data()), kSpecs[number].elements};
  }
  void fill() {
    for (int rank = 0; rank < kThreeRanks; ++rank) {
      for (std::size_t b = 0; b < kSpecs.size(); ++b) {
        for (std::size_t i = 0; i < kSpecs[b].elements; ++i)
          bucket(rank, b)[i] = static_cast<float>(i % 1000) * 0.37f + static_cast<float>(rank);
      }
    }
  }
  /// Exchanges what was filled in; what each rank is told.
  Found exchange(std::uint64_t step) {
    std::vector<std::vector<float>> sums;
    for (std::size_t b = 0; b + 1 < kSpecs.size(); ++b) {
      std::vector<float>& sum = sums.emplace_back(kSpecs[b].elements);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = bucket(0, b)[i] + bucket(1, b)[i] + bucket(2, b)[i];
    }
    for (const auto& rank : ranks_) EXPECT_TRUE(rank->start(step));
    for (const auto& rank : ranks_) EXPECT_TRUE(rank->client().finish(0, in_seconds(20)));
    const Found told = ranks_.front()->client().not_finite(0);
    for (int rank = 0; rank < kThreeRanks; ++rank) {
      EXPECT_EQ(ranks_[static_cast<std::size_t>(rank)]->client().not_finite(0), told) << "rank " << rank;
      for (std::size_t b = 0; b < sums.size(); ++b) {
        for (std::size_t i = 0; i < sums[b].size(); ++i) {
          const float value = bucket(rank, b)[i], expected = sums[b][i];
          const bool is_equal = std::isnan(expected) ? std::isnan(value) : value == expected;
          EXPECT_TRUE(is_equal) << "rank " << rank << ", bucket " << b << ", element " << i;
        }
      }
    }
    return told;
  }

  static inline const std::vector<BucketSpec> kSpecs{{DType::kFloat32, Reduction::kSum, kLong},
                                                     {DType::kFloat32, Reduction::kSum, 5},
                                                     {DType::kFloat32, Reduction::kBroadcast, 100}};
  Cluster cluster_{kThreeRanks, 2, 4, GetParam().ways};
  std::vector<std::unique_ptr<ClusterRank>> ranks_;
};

TEST_P(NotFiniteInputs, AreToldToAllRanksAlikeWithWhoseTheyAre) {
  fill();
  EXPECT_EQ(exchange(1), Found{});

  fill();
  bucket(1, 0)[kLong - 1] = kNan;
  EXPECT_EQ(exchange(2), (Found{{0, kLong - 1, 1}}));

  fill();
  bucket(2, 0)[7] = -kInfinity;
  bucket(0, 1)[4] = kInfinity;
  bucket(1, 1)[3] = kNan;
  EXPECT_EQ(exchange(3), (Found{{0, 7, 2}, {1, 3, 1}, {1, 4, 0}}));

  fill();
  bucket(0, 1)[2] = kHuge, bucket(2, 1)[2] = kHuge;
  EXPECT_EQ(exchange(4), (Found{{1, 2, NotFiniteElement::kNobody}})) << "only the sum is too large";

  fill();
  bucket(0, 2)[2] = kNan;
  EXPECT_EQ(exchange(5), Found{}) << "what is broadcast may be anything";
}

INSTANTIATE_TEST_SUITE_P(
    Ways, NotFiniteInputs,
    testing::Values(
        Way{"Sockets", {}, 4096}, Way{"ThreeConnections", {.connections = 3}, 4096},
        Way{"SharedMemory", {.shares_memory = true}, 4096},
        Way{"SharedMemoryAndSumThreads", {.shares_memory = true, .sum_helpers = 2}, 1 << 20},
        Way{"Journal", {.shares_memory = true, .outlives_losses = true}, 4096},
        Way{"JournalAndSumThreads", {.shares_memory = true, .sum_helpers = 2, .outlives_losses = true}, 1 << 20}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tutti::ps
