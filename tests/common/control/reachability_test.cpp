// SPDX-License-Identifier: Apache-2.0
// Of those that do not reach each other, one is cut off.
#include "common/control/reachability.h"

#include <gtest/gtest.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::seconds;

constexpr Duration kTimeout = seconds(3);

struct World {
  World(int workers_, int servers_) : workers(workers_), servers(servers_) {}
  /// `by` has not heard of these for so long.
  void tell(MemberId by, const std::vector<MemberId>& peers, Duration silent = seconds(3)) {
    Unreachable message;
    for (const MemberId& peer : peers) message.peers.push_back({peer, static_cast<std::uint64_t>(silent.count())});
    machine.told(by, message, now);
  }
  std::optional<MemberId> cut_off(Duration longer_than = kTimeout) const {
    const auto finding =
        machine.judge(now, workers, servers, longer_than, [this](const MemberId& who) { return absent == who; });
    return finding ? std::optional(finding->member) : std::nullopt;
  }
  const int workers, servers;
  Reachability machine{kTimeout};
  std::optional<MemberId> absent;
  TimePoint now{};
};

TEST(Reachability, WorkerThatNoShardReachesIsCutOffWhoeverTellsIt) {
  for (const bool tells_itself : {true, false}) {
    World world(4, 2);
    if (tells_itself) world.tell(rank(2), {shard(0), shard(1)});
    for (const MemberId by : {shard(0), shard(1)}) world.tell(by, {rank(2)});
    EXPECT_EQ(world.cut_off(), rank(2));
  }
}

TEST(Reachability, ShardThatNoWorkerReachesIsCutOff) {
  for (const int shards : {1, 2}) {
    World world(4, shards);
    for (int i = 0; i < 4; ++i) world.tell(rank(i), {shard(0)});
    EXPECT_EQ(world.cut_off(), shard(0)) << "of " << shards;
  }
}

TEST(Reachability, FirstToBeLateIsNotBlamedForTheShardThatAllMiss) {
  World world(4, 2);
  world.tell(rank(0), {shard(1)}, seconds(3));
  for (int i = 1; i < 4; ++i) world.tell(rank(i), {shard(1)}, seconds(2));
  EXPECT_EQ(world.cut_off(), shard(1));
}

TEST(Reachability, OnlyShardMissesTheOnlyWorkerThatMissesIt) {
  World world(4, 1);
  world.tell(shard(0), {rank(3)});
  world.tell(rank(3), {shard(0)});
  EXPECT_EQ(world.cut_off(), rank(3)) << "the others reach it";
}

TEST(Reachability, OfTwoTheOneIsCutOffThatTheCoordinatorDoesNotHear) {
  for (const MemberId absent : {rank(0), shard(0)}) {
    World world(1, 1);
    world.absent = absent;
    world.tell(rank(0), {shard(0)});
    EXPECT_EQ(world.cut_off(), absent);
  }
}

TEST(Reachability, OfTwoThatAreHeardTheAccusedIs) {
  World one(1, 1), other(1, 1);
  one.tell(rank(0), {shard(0)});
  EXPECT_EQ(one.cut_off(), shard(0));
  other.tell(shard(0), {rank(0)});
  EXPECT_EQ(other.cut_off(), rank(0));
}

TEST(Reachability, NobodyIsBeforeItsTime) {
  World world(4, 2);
  world.tell(rank(2), {shard(0), shard(1)}, seconds(2));
  EXPECT_EQ(world.cut_off(), std::nullopt);
  EXPECT_EQ(world.cut_off(Duration::zero()), rank(2));
  world.now += seconds(1);
  EXPECT_EQ(world.cut_off(), rank(2)) << "time passes for what was told, too";
}

TEST(Reachability, WhatIsTakenBackOrNotToldAgainCountsNoMore) {
  World world(4, 2);
  world.tell(rank(2), {shard(0)});
  world.tell(rank(2), {});
  EXPECT_EQ(world.cut_off(), std::nullopt);
  world.tell(rank(2), {shard(0)});
  world.now += seconds(2);
  EXPECT_EQ(world.cut_off(), std::nullopt);
  world.tell(rank(2), {shard(0)});
  world.machine.begin_generation();
  EXPECT_EQ(world.cut_off(), std::nullopt);
}

}  // namespace
}  // namespace tutti::testing
