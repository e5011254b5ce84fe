// SPDX-License-Identifier: Apache-2.0
#include "launch/placement.h"

#include <gmock/gmock.h>

#include <numeric>

namespace tutti::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int> ranks_of(const AgentShare& share) {
  std::vector<int> ranks;
  for (const WorkerSlot& slot : share.workers) ranks.push_back(slot.rank);
  return ranks;
}

TEST(Placement, OneWorkerForEachAgentOfOneHost) {
  const auto placed = place({"a", "a", "a"}, 3, 0);
  EXPECT_THAT(placed[0].workers, ElementsAre(WorkerSlot{0, 0, 3}));
  EXPECT_THAT(placed[2].workers, ElementsAre(WorkerSlot{2, 2, 3}));
}

TEST(Placement, RanksOfAHostFollowEachOtherThoughItsAgentsDoNot) {
  const auto placed = place({"a", "b", "a", "b"}, 4, 0);
  EXPECT_THAT(ranks_of(placed[0]), ElementsAre(0));
  EXPECT_THAT(ranks_of(placed[2]), ElementsAre(1));
  EXPECT_THAT(ranks_of(placed[1]), ElementsAre(2));
  EXPECT_EQ(placed[3].workers.front(), (WorkerSlot{3, 1, 2}));
}

TEST(Placement, BlocksDifferByOneAtMost) {
  const auto placed = place({"a", "b", "c"}, 8, 0);
  EXPECT_THAT(ranks_of(placed[0]), ElementsAre(0, 1, 2));
  EXPECT_THAT(ranks_of(placed[1]), ElementsAre(3, 4, 5));
  EXPECT_THAT(ranks_of(placed[2]), ElementsAre(6, 7));
  EXPECT_EQ(placed[2].workers[1], (WorkerSlot{7, 1, 2}));
}

TEST(Placement, AnAgentTooManyHasNothingToDo) {
  const auto placed = place({"a", "a"}, 1, 0);
  EXPECT_THAT(ranks_of(placed[0]), ElementsAre(0));
  EXPECT_THAT(placed[1].workers, IsEmpty());
}

TEST(Placement, ShardsAreSpreadOverHostsBeforeAHostGetsASecond) {
  const auto placed = place({"a", "a", "b", "b"}, 4, 3);
  EXPECT_THAT(placed[0].shards, ElementsAre(0));
  EXPECT_THAT(placed[2].shards, ElementsAre(1));
  EXPECT_THAT(placed[1].shards, ElementsAre(2));
  EXPECT_THAT(placed[3].shards, IsEmpty());
}

TEST(Placement, ColocatedShardsGoToHostsWithWorkersOnly) {
  const auto placed = place({"a", "b", "c"}, 2, 3);
  EXPECT_THAT(placed[0].shards, ElementsAre(0, 2));
  EXPECT_THAT(placed[1].shards, ElementsAre(1));
  EXPECT_THAT(placed[2].shards, IsEmpty());
}

TEST(Placement, SpreadShardsGoToEveryHost) {
  const auto placed = place({"a", "b", "c"}, 2, 4, ShardHosts::kSpread);
  EXPECT_THAT(placed[0].shards, ElementsAre(0, 3));
  EXPECT_THAT(placed[1].shards, ElementsAre(1));
  EXPECT_THAT(placed[2].shards, ElementsAre(2));
}

TEST(Placement, DedicatedShardsHaveTheLastHostsToThemselves) {
  const auto placed = place({"a", "b", "c", "a", "b", "c"}, 4, 2, ShardHosts::kDedicated);
  EXPECT_THAT(ranks_of(placed[0]), ElementsAre(0, 1));
  EXPECT_THAT(ranks_of(placed[3]), ElementsAre(2, 3));
  EXPECT_EQ(placed[3].workers.back(), (WorkerSlot{3, 3, 4}));
  EXPECT_THAT(placed[1].shards, ElementsAre(0));
  EXPECT_THAT(placed[2].shards, ElementsAre(1));
  for (const std::size_t agent : {1, 2, 4, 5}) EXPECT_THAT(placed[agent].workers, IsEmpty()) << agent;
  for (const std::size_t agent : {0, 3, 4, 5}) EXPECT_THAT(placed[agent].shards, IsEmpty()) << agent;
}

TEST(Placement, CountsTheAgentsThatWorkersMayGoTo) {
  const std::vector<std::string> hosts = {"a", "b", "c", "a"};
  EXPECT_EQ(count_worker_agents(hosts, 2, ShardHosts::kColocated), 4);
  EXPECT_EQ(count_worker_agents(hosts, 2, ShardHosts::kSpread), 4);
  EXPECT_EQ(count_worker_agents(hosts, 2, ShardHosts::kDedicated), 2);
}

TEST(Placement, HasAsManyShardsAsHostsForThem) {
  const std::vector<std::string> hosts = {"a", "b", "c", "d", "e"};
  EXPECT_EQ(default_shards(hosts, 5, ShardHosts::kColocated), 5);
  EXPECT_EQ(default_shards(hosts, 2, ShardHosts::kColocated), 2);
  EXPECT_EQ(default_shards(hosts, 2, ShardHosts::kSpread), 5);
  EXPECT_EQ(default_shards(hosts, 2, ShardHosts::kDedicated), 2);
}

TEST(Placement, CountsHostsOnce) {
  EXPECT_EQ(count_hosts({"a", "b", "a"}), 2);
}

TEST(Placement, WorkersGetCoresOfTheirOwnWhereTwoForEachAreLeft) {
  std::vector<int> cores(10);
  std::iota(cores.begin(), cores.end(), 0);
  EXPECT_THAT(cores_of(cores, 0, 3, 1), ElementsAre(0, 1, 2));
  EXPECT_THAT(cores_of(cores, 2, 3, 1), ElementsAre(6, 7, 8));
  EXPECT_EQ(cores_of(cores, 0, 5, 1), cores) << "nine cores are too few for five workers and a shard";
}

TEST(Placement, IsDescribedOneLineForEachAgent) {
  EXPECT_EQ(describe(place({"a", "b"}, 3, 1)), "agent 0 on a: ranks 0-1, shard 0\nagent 1 on b: rank 2\n");
}

}  // namespace
}  // namespace tutti::launch
