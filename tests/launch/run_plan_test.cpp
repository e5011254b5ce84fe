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

TEST(RunPlan, RefusesKeysThatContradictEachOther) {
  struct Case {
    RunConfig config;
    const char* named;
  };
  for (const Case& wrong : {Case{with(2, 0, "ps"), "shards = 0"}, Case{with(2, -1, "local"), "workers = 2"},
                            Case{with(2, -1, "mpi"), "mpirun -np"}}) {
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

TEST(RunPlan, WithoutAProgramIsAUsageError) {
  const auto plan = plan_run(RunConfig{}, {"a"});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, Errc::kUsage);
}

}  // namespace
}  // namespace tutti::launch
