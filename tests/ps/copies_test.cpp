// SPDX-License-Identifier: Apache-2.0
// What one exchange does to a tensor's bytes, counted: the table of docs/benchmarks.md. No pass may be added, and none
// may be over other memory than the buckets and the buffers that sums run in.
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "tests/ps/byte_counts.h"
#include "tests/ps/cluster.h"

namespace tutti::ps {
namespace {

constexpr std::size_t kElements = 200'003;
constexpr std::size_t kBytes = kElements * sizeof(float);
constexpr std::uint64_t kChunkBytes = 128 << 10;

struct Passes {
  std::size_t written, read, checked, copied, summed, stored;
  bool operator==(const Passes&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Passes& passes) {
  return out << "written " << passes.written << ", read " << passes.read << ", checked " << passes.checked
             << ", copied " << passes.copied << ", summed " << passes.summed << ", stored " << passes.stored;
}
constexpr Passes kNothing{};

template <class Count>
Passes passes_of(Count count) {
  return {count(BytePass::kWritten), count(BytePass::kRead),   count(BytePass::kChecked),
          count(BytePass::kCopied),  count(BytePass::kSummed), count(BytePass::kStored)};
}

/// Two ranks and a shard in one exchange of one bucket.
class Copies : public testing::Test {
 protected:
  void exchange(std::array<bool, 2> shares, Reduction reduction = Reduction::kAverage) {
    const std::vector<BucketSpec> buckets{{DType::kFloat32, reduction, kElements}};
    Cluster cluster(2, 1, 4, {.shares_memory = true, .meter = &at_shard_});
    for (std::size_t rank = 0; rank < 2; ++rank) {
      Client::Options options = cluster.client_options(static_cast<int>(rank), kChunkBytes);
      if (!shares[rank]) options.placement = {};
      options.meter = &at_rank_[rank];
      ranks_[rank] = std::make_unique<ClusterRank>(cluster, std::move(options));
      ASSERT_TRUE(ranks_[rank]->open(buckets));
    }
    for (auto& rank : ranks_) ASSERT_TRUE(rank->start(1));
    for (auto& rank : ranks_) ASSERT_TRUE(rank->client().finish(0, in_seconds(20)));
    for (auto& rank : ranks_) rank->disconnect();  // what is sent has been counted
    cluster.stop(0);
  }

  Passes shard() const {
    return passes_of([&](BytePass pass) { return at_shard_.all(pass); });
  }
  /// Of a rank, which touches its bucket and nothing else.
  Passes rank(std::size_t number) const {
    const Passes all = passes_of([&](BytePass pass) { return at_rank_[number].all(pass); });
    EXPECT_EQ(all, passes_of([&](BytePass pass) { return at_rank_[number].in(ranks_[number]->memory[0], pass); }));
    return all;
  }

  ByteCounts at_shard_;
  std::array<ByteCounts, 2> at_rank_;
  std::array<std::unique_ptr<ClusterRank>, 2> ranks_;
};

constexpr std::size_t operator""_bytes(unsigned long long times) {
  return times * kBytes;
}

TEST_F(Copies, ThroughSocketsAreThoseOfTheSystemAndOneSum) {
  exchange({false, false});
  for (const std::size_t number : {0, 1}) {
    EXPECT_EQ(rank(number),
              (Passes{.written = 1_bytes, .read = 1_bytes, .checked = 2_bytes, .copied = 0, .summed = 0, .stored = 0}));
  }
  EXPECT_EQ(shard(), (Passes{.written = 2_bytes,
                             .read = 2_bytes,
                             .checked = 3_bytes,  // what came from each, and once the result of both
                             .copied = 0,
                             .summed = 2_bytes,
                             .stored = 1_bytes}));
}

TEST_F(Copies, ThroughSharedMemoryAreNone) {
  exchange({true, true});
  EXPECT_EQ(rank(0), kNothing);
  EXPECT_EQ(rank(1), kNothing);
  EXPECT_EQ(shard(),
            (Passes{.written = 0, .read = 0, .checked = 0, .copied = 0, .summed = 2_bytes, .stored = 2_bytes}));
}

TEST_F(Copies, OfRanksHereAndElsewhereAreThoseOfTheOneElsewhere) {
  exchange({true, false});
  EXPECT_EQ(rank(0), kNothing);
  EXPECT_EQ(rank(1),
            (Passes{.written = 1_bytes, .read = 1_bytes, .checked = 2_bytes, .copied = 0, .summed = 0, .stored = 0}));
  EXPECT_EQ(
      shard(),
      (Passes{
          .written = 1_bytes, .read = 1_bytes, .checked = 2_bytes, .copied = 0, .summed = 2_bytes, .stored = 2_bytes}));
}

TEST_F(Copies, OfABroadcastAreOneForEachRankThatSharesMemory) {
  exchange({true, true}, Reduction::kBroadcast);
  EXPECT_EQ(shard(),
            (Passes{.written = 0, .read = 0, .checked = 0, .copied = 1_bytes, .summed = 0, .stored = 1_bytes}));
}

TEST_F(Copies, OfABroadcastThroughSocketsAreNone) {
  exchange({false, false}, Reduction::kBroadcast);
  EXPECT_EQ(shard(),
            (Passes{.written = 2_bytes, .read = 1_bytes, .checked = 2_bytes, .copied = 0, .summed = 0, .stored = 0}));
}

}  // namespace
}  // namespace tutti::ps
