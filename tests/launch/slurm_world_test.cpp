// SPDX-License-Identifier: Apache-2.0
#include "launch/slurm_world.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "tests/common/temporary_folder.h"

namespace tutti::launch {
namespace {

Deadline soon() {
  return SteadyClock().now() + std::chrono::seconds(10);
}

Environment task(int rank, const std::string& restarts = "0") {
  return {{"SLURM_JOB_ID", "42"},
          {"SLURM_STEP_ID", "1"},
          {"SLURM_PROCID", std::to_string(rank)},
          {"SLURM_NTASKS", "2"},
          {"SLURM_RESTART_COUNT", restarts}};
}

TEST(SlurmWorld, GathersAndBroadcastsThroughItsFolder) {
  const testing::TemporaryFolder shared;
  const auto take_part = [&](int rank) {
    const auto world = SlurmWorld::open(task(rank), shared.path()).value();
    EXPECT_EQ(world->rank(), rank);
    EXPECT_THAT(world->all_gather("host" + std::to_string(rank), soon()).value(),
                ::testing::ElementsAre("host0", "host1"));
    EXPECT_EQ(world->broadcast(rank == 0 ? "endpoint" : "", soon()).value(), "endpoint");
    EXPECT_THAT(world->all_gather("", soon()).value(), ::testing::ElementsAre("", ""));
    EXPECT_EQ(world->leave(rank, soon()), rank);
  };
  std::thread other(take_part, 1);
  take_part(0);
  other.join();
  EXPECT_TRUE(std::filesystem::is_empty(shared.path())) << "the first agent takes its folder away";
}

TEST(SlurmWorld, NamesTheAgentThatDoesNotCome) {
  const testing::TemporaryFolder shared;
  const auto world = SlurmWorld::open(task(0), shared.path()).value();
  const auto all = world->all_gather("host0", SteadyClock().now() + std::chrono::milliseconds(50));
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, Errc::kTimeout);
  EXPECT_THAT(all.error().text(), ::testing::HasSubstr("agent 1"));
}

TEST(SlurmWorld, AFolderThatOthersCanReadGetsNoSecret) {
  const testing::TemporaryFolder shared;
  const std::string folder = shared.file(".meeting-42.1.0");
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
  const auto world = SlurmWorld::open(task(0), shared.path());
  ASSERT_FALSE(world);
  EXPECT_EQ(world.error().code, Errc::kAuthentication);
}

TEST(SlurmWorld, ARequeuedJobMeetsElsewhere) {
  const testing::TemporaryFolder shared;
  const auto first = SlurmWorld::open(task(1), shared.path()).value();
  const auto second = SlurmWorld::open(task(1, "1"), shared.path()).value();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(shared.path()), {}), 2);
}

}  // namespace
}  // namespace tutti::launch
