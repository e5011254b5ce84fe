// SPDX-License-Identifier: Apache-2.0
// Processes that are stopped, stuck or slow, and not dead: the first two are named, ended and replaced; the third is
// named and waited for.
#include <gmock/gmock.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/recording.h"
#include "common/stack_file.h"
#include "tests/chaos/chaos_run.h"
#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

/// Twelve beats and six heartbeats in three seconds.
ChaosOptions watched() {
  ChaosOptions options;
  options.configuration = {"timeout_s=3"};
  return options;
}

/// What the rank's first process has left of its stack.
std::string stack_of(ChaosRun& run, int rank) {
  std::string text;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(run.run().folder() + "/runs", ignored)) {
    const std::string name = recording_name({.role = Role::kWorker, .rank = rank});
    std::ifstream file(stack_path(entry.path() / "recordings" / name));
    std::getline(file, text, '\0');
  }
  return text;
}

TEST(Liveness, StoppedWorkerIsNamedAfterASecondAndReplacedAfterThree) {
  ChaosOptions options = watched();
  options.faults = {"2:60:forward:" + std::to_string(SIGSTOP)};
  ChaosRun run(options);
  run.expect_same_bits();
  EXPECT_THAT(run.err(), ContainsRegex("rank 2 on [^ ]* has not been heard of for [0-9.]+ s .at step 60."));
  EXPECT_THAT(run.err(), ContainsRegex("rank 2 on [^ ]* was lost at step 60 .*it has not been heard of for [0-9.]+ s"));
  EXPECT_EQ(count(run.err(), "begins with a new process"), 1u) << run.err();
  run.report("8", 1);
}

TEST(Liveness, PauseOfTwoSecondsEvictsNobody) {
  ChaosOptions options = watched();
  options.faults = {"1:60:pause:2000"};
  ChaosRun run(options);
  run.expect_same_bits();
  EXPECT_THAT(run.err(), ContainsRegex("rank 1 on [^ ]* has not been heard of for"));
  EXPECT_THAT(run.err(), Not(HasSubstr("begins with a new process")));
  EXPECT_EQ(run.measured().size(), 1u);
}

TEST(Liveness, WorkerThatSpinsIsNamedAndReplaced) {
  ChaosOptions options = watched();
  options.faults = {"3:60:spin"};
  ChaosRun run(options);
  EXPECT_TRUE(eventually(kPatience, [&] { return stack_of(run, 3).find("test_chaos") != std::string::npos; }))
      << "its stack names no place in the program: " << stack_of(run, 3);
  run.expect_same_bits();
  EXPECT_THAT(run.err(), ContainsRegex("rank 3 on [^ ]* was lost at step 60 .*after iteration_begin 60.: it makes no "
                                       "progress, and the others have waited"));
  EXPECT_THAT(run.err(), Not(HasSubstr("has not been heard of")));
  EXPECT_EQ(count(run.err(), "begins with a new process"), 1u) << run.err();
  run.report("33", 1);
}

TEST(Liveness, SlowWorkerIsNamedAndWaitedFor) {
  ChaosOptions options = watched();
  options.slow = "3:50:80:150";
  ChaosRun run(options);
  run.expect_same_bits();
  EXPECT_THAT(run.err(), ContainsRegex("rank 3 on [^ ]* is slow: the others waited .* for it .at step (5|6)[0-9]."));
  EXPECT_THAT(run.err(), Not(HasSubstr("begins with a new process")));
  std::printf("measured row=10 exchange=shm SHA=yes\n");
}

}  // namespace
}  // namespace tutti::testing
