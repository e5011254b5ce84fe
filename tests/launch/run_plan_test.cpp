// SPDX-License-Identifier: Apache-2.0
#include "launch/run_plan.h"

#include <gmock/gmock.h>

namespace tutti::launch {
namespace {

using ::testing::HasSubstr;

RunConfig with(int workers, int shards = -1, const std::string& exchange = "auto") {
  RunConfig config;
  config.program = {"./train"};
  config.workers = workers;
  config.shards = shards;
  config.exchange = exchange;
  return config;
}

TEST(RunPlan, HasOneWorkerForEachAgentUnlessToldOtherwise) {
  EXPECT_EQ(plan_run(with(0), {"a", "a", "b"}).value().config.workers, 3);
  EXPECT_EQ(plan_run(with(2), {"a", "a", "b"}).value().config.workers, 2);
}

TEST(RunPlan, TakesTheParameterServerWithOneShardOnEachHost) {
  const auto plan = plan_run(with(4), {"a", "a", "b", "b"}).value();
  EXPECT_EQ(plan.config.exchange, "ps");
  EXPECT_EQ(plan.config.shards, 2);
}

TEST(RunPlan, ChoosesTheExchangeByWhatTheShardsSay) {
  EXPECT_EQ(plan_run(with(1), {"a"}).value().config.exchange, "local");
  EXPECT_EQ(plan_run(with(1, 1), {"a"}).value().config.exchange, "ps");
  EXPECT_EQ(plan_run(with(2, 0), {"a", "b"}).value().config.exchange, "auto");
}

TEST(RunPlan, LeavesTheExchangeOfOneHostToItsWorkers) {
  const auto plan = plan_run(with(2), {"a", "a"}).value();
  EXPECT_EQ(plan.config.exchange, "auto");
  EXPECT_EQ(plan.config.shards, 0);
}

TEST(RunPlan, HasNoShardsForOtherExchanges) {
  EXPECT_EQ(plan_run(with(2, -1, "gloo"), {"a"}).value().config.shards, 0);
}

TEST(RunPlan, HasOneShardOnEachHostWhereHostsSumFirst) {
  EXPECT_EQ(plan_run(with(4, -1, "shm+ps"), {"a", "a", "b", "b"}).value().config.shards, 2);
  EXPECT_EQ(plan_run(with(4, 1, "shm+ps"), {"a", "a", "b", "b"}).value().config.shards, 1);
  EXPECT_EQ(plan_run(with(4, 2, "shm+gloo"), {"a", "a", "b", "b"}).value().config.shards, 0);
}

TEST(RunPlan, HasNoShardsForOneHostThatSumsByItself) {
  const auto plan = plan_run(with(2, 2, "shm+ps"), {"a", "a"}).value();
  EXPECT_EQ(plan.config.exchange, "shm+ps");
  EXPECT_EQ(plan.config.shards, 0);
  EXPECT_THAT(plan.placement[0].shards, ::testing::IsEmpty());
}

RunConfig elastic(int least, int most) {
  RunConfig config = with(0);
  config.worker_range = {least, most};
  config.checkpoint_dir = "checkpoints";
  config.checkpoint_every = 50;
  return config;
}

TEST(RunPlan, BeginsAnElasticRunWithAsManyAsThereIsRoomFor) {
  EXPECT_EQ(plan_run(elastic(2, 8), {"a", "a", "b"}).value().config.workers, 3);
  EXPECT_EQ(plan_run(elastic(4, 8), {"a", "a", "b"}).value().config.workers, 4);
  EXPECT_EQ(plan_run(elastic(1, 2), {"a", "a", "b"}).value().config.workers, 2);
  EXPECT_EQ(first_workers(elastic(2, 8), 5), 5);
  EXPECT_EQ(first_workers(with(3), 5), 3);
}

TEST(RunPlan, AnElasticRunNeedsCheckpoints) {
  RunConfig config = elastic(2, 8);
  config.checkpoint_every = 0;
  EXPECT_THAT(plan_run(config, {"a"}).error().text(), HasSubstr("checkpoint_dir and checkpoint_every"));
  config = elastic(2, 8);
  config.placement = "dedicated";
  EXPECT_THAT(plan_run(config, {"a", "b"}).error().text(), HasSubstr("a range of workers goes with neither"));
}

TEST(RunPlan, PlansAnotherWorldWithoutTheAgentsThatAreGone) {
  const auto plan = plan_run(elastic(2, 8), {"a", "b", "b"}).value();
  EXPECT_EQ(plan.config.exchange, "ps");
  const auto next = replan(plan, 2, {0}).value();
  EXPECT_EQ(next.config.workers, 2);
  EXPECT_EQ(next.config.exchange, "auto") << "one host is left";
  EXPECT_EQ(next.placement.size(), 3u);
  EXPECT_EQ(next.placement[0], AgentShare());
  EXPECT_EQ(next.placement[1].workers, (std::vector<WorkerSlot>{{0, 0, 2}}));
  EXPECT_EQ(next.placement[2].workers, (std::vector<WorkerSlot>{{1, 1, 2}}));
}

TEST(RunPlan, RefusesKeysThatContradictEachOther) {
  struct Case {
    RunConfig config;
    const char* named;
  };
  for (const Case& wrong : {Case{with(2, 0, "ps"), "shards = 0"}, Case{with(2, 0, "shm+ps"), "\"shm+ps\" needs shards"},
                            Case{with(2, -1, "local"), "workers = 2"}, Case{with(2, -1, "mpi"), "mpirun -np"},
                            Case{with(2, -1, "shm+mpi"), "\"shm+mpi\" is for a program that mpirun starts itself"}}) {
    const auto plan = plan_run(wrong.config, {"a"});
    ASSERT_FALSE(plan) << wrong.named;
    EXPECT_THAT(plan.error().text(), HasSubstr(wrong.named));
    EXPECT_EQ(exit_code(plan.error().code), 64);
  }
}

TEST(RunPlan, AnotherExchangeThanTheFilesStartsNoShards) {
  EXPECT_EQ(plan_run(with(2, 3, "gloo"), {"a"}).value().config.shards, 0);
}

TEST(RunPlan, RefusesFewerPortsThanThereAreListeners) {
  RunConfig config = with(2, 2, "ps");
  config.ports = "5000";
  EXPECT_THAT(plan_run(config, {"a"}).error().text(), HasSubstr("a range of 3 or more"));
  config.ports = "5000-5002";
  EXPECT_TRUE(plan_run(config, {"a"}));
}

RunConfig placed(const std::string& placement, RunConfig config) {
  config.placement = placement;
  return config;
}

TEST(RunPlan, DedicatedShardsLeaveTheOtherHostsToTheWorkers) {
  const auto plan = plan_run(placed("dedicated", with(0)), {"a", "b", "c", "d", "a", "b"}).value();
  EXPECT_EQ(plan.config.shards, 2);
  EXPECT_EQ(plan.config.workers, 4) << "one for each agent on a and b";
  EXPECT_EQ(describe(plan.placement),
            "agent 0 on a: rank 0\nagent 1 on b: rank 2\nagent 2 on c: no worker, shard 0\n"
            "agent 3 on d: no worker, shard 1\nagent 4 on a: rank 1\nagent 5 on b: rank 3\n");
}

TEST(RunPlan, PlacementSaysHowManyShardsThereAre) {
  EXPECT_EQ(plan_run(placed("colocated", with(2)), {"a", "b", "c"}).value().config.shards, 2);
  const auto spread = plan_run(placed("spread", with(2)), {"a", "b", "c"}).value();
  EXPECT_EQ(spread.config.shards, 3);
  EXPECT_EQ(spread.placement[2].shards.size(), 1u);
}

TEST(RunPlan, RefusesDedicatedShardsThatLeaveNoHostForWorkers) {
  const auto all = plan_run(placed("dedicated", with(2, 2)), {"a", "b", "a"});
  ASSERT_FALSE(all);
  EXPECT_THAT(all.error().text(), HasSubstr("found shards = 2 on 2 hosts, expected at most 1"));
  EXPECT_EQ(exit_code(all.error().code), 64);
  EXPECT_TRUE(plan_run(placed("dedicated", with(2, 1)), {"a", "b", "a"}));
  const auto alone = plan_run(placed("dedicated", with(2, -1, "ps")), {"a", "a"});
  ASSERT_FALSE(alone);
  EXPECT_THAT(alone.error().text(), HasSubstr("found 1 host, expected 2 or more"));
}

TEST(RunPlan, PlacementIsOfNoConcernWithoutShards) {
  const auto plan = plan_run(placed("dedicated", with(0, -1, "gloo")), {"a", "a"}).value();
  EXPECT_EQ(plan.config.workers, 2);
}

TEST(RunPlan, WithoutAProgramIsAUsageError) {
  const auto plan = plan_run(RunConfig{}, {"a"});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, Errc::kUsage);
}

}  // namespace
}  // namespace tutti::launch
