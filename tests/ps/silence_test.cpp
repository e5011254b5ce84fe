// SPDX-License-Identifier: Apache-2.0
// A connection through which nothing comes any more: both ends tell of each other, and go on when the network is back.
#include <gtest/gtest.h>

#include "tests/common/net/loopback.h"
#include "tests/common/net/relay.h"
#include "tests/ps/cluster.h"

namespace tutti::ps {
namespace {

using testing::Mailbox;
using testing::Relay;

/// What one end has told.
struct Told {
  TellUnreachable tell() {
    return [this](std::uint32_t generation, const Unreachable& peers) { mailbox.put({generation, peers}); };
  }
  /// The next that names somebody, or nobody.
  std::optional<Unreachable> next(bool names_somebody) {
    while (auto told = mailbox.take()) {
      EXPECT_EQ(told->first, 1u);
      if (told->second.peers.empty() != names_somebody) return told->second;
    }
    return std::nullopt;
  }
  Mailbox<std::pair<std::uint32_t, Unreachable>> mailbox;
};

TEST(Silence, IsToldByBothEndsAndWhatWasNotAnsweredIsPushedAgain) {
  const std::vector<BucketSpec> buckets{{DType::kFloat32, Reduction::kAverage, 4096}};
  Told by_shard, by_rank;
  Cluster cluster(1, 1, 4,
                  {.outlives_losses = true, .timeout = std::chrono::seconds(2), .tell_unreachable = by_shard.tell()});
  Relay relay(cluster.endpoints()[0]);
  auto options = cluster.client_options(0);
  options.shards = {relay.endpoint()};
  options.tell_unreachable = by_rank.tell();
  ClusterRank rank(cluster, options);
  ASSERT_TRUE(rank.open(buckets));
  const auto exchange = [&](std::uint64_t step) {
    std::ranges::fill(rank.memory[0], static_cast<std::byte>(step));
    return rank.start(step);
  };
  ASSERT_TRUE(exchange(0));
  ASSERT_TRUE(rank.client().finish(0, in_seconds(20)));

  relay.hold(true);
  ASSERT_TRUE(exchange(1));
  const auto shards = by_rank.next(true), ranks = by_shard.next(true);
  ASSERT_TRUE(shards && ranks);
  EXPECT_EQ(shards->peers[0].member, (MemberId{Role::kServer, 0}));
  EXPECT_EQ(ranks->peers[0].member, (MemberId{Role::kWorker, 0}));
  for (const auto& told : {shards, ranks}) EXPECT_GE(told->peers[0].silent_ns, 1'000'000'000u);

  relay.hold(false);
  const auto done = rank.client().finish(0, in_seconds(20));
  EXPECT_TRUE(done) << done.error().text();
  EXPECT_TRUE(by_rank.next(false)) << "it takes back what it said";
  EXPECT_TRUE(by_shard.next(false));
}

}  // namespace
}  // namespace tutti::ps
