// SPDX-License-Identifier: Apache-2.0
// Faults that end a run as a whole and let it go on from its checkpoint.
#include <gmock/gmock.h>

#include <csignal>
#include <cstdio>
#include <functional>

#include "tests/chaos/chaos_run.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kEvery = 50, kStruck = 120;  // steps between checkpoints; when the fault strikes

/// Ends a run by `strike` after the step kStruck, and expects that nothing of it is left and that the next one goes on.
void expect_goes_on(const std::string& row, ChaosOptions options, const std::function<void(ChaosRun&)>& strike) {
  const TemporaryFolder checkpoints;
  options.configuration = options.configuration +
                          Strings{"checkpoint_dir=" + checkpoints.path(), "checkpoint_every=" + std::to_string(kEvery)};
  options.hold_ms = 25;  // what is left of a run makes steps until it knows that it has lost its launcher
  ChaosRun run(options);
  ASSERT_TRUE(run.reaches(kStruck)) << run.err();
  strike(run);
  EXPECT_TRUE(run.finish(kPatience).has_value());
  EXPECT_EQ(run.run().leftovers(kGone), "");
  options.marks = run.marks_folder();
  ChaosRun rest(options);
  rest.expect_same_bits();
  for (const auto& [struck, measured] : run.measured()) rest.note(struck);
  EXPECT_THAT(rest.err(), HasSubstr("goes on from"));
  rest.report(row, 1, kEvery);
}

/// The agent of the first MPI rank.
pid_t first_agent(const RunTutti& run) {
  for (const MarkedProcess& process : run.processes(bin_folder() + "/tutti")) {
    if (has_variable(process.pid, "OMPI_COMM_WORLD_RANK", "0")) return process.pid;
  }
  return 0;
}

TEST(KilledRun, GoesOnAfterTheDeathOfMpirun) {
  expect_goes_on("6", {.launcher = "mpirun"}, [](ChaosRun& run) {
    run.note({-1, kStruck, monotonic_ns()});
    run.run().signal(SIGKILL);
  });
}

TEST(KilledRun, GoesOnAfterTheDeathOfTheCoordinatorsAgent) {
  expect_goes_on("6", {.launcher = "mpirun"},
                 [](ChaosRun& run) { run.strike(Role::kAgent, 0, first_agent(run.run()), SIGKILL); });
}

TEST(KilledRun, GoesOnAfterTheDeathOfEveryProcess) {
  for (const std::string exchange : {"shm", "ps"}) {
    expect_goes_on("7", {.exchange = exchange, .shards = exchange == "ps" ? 2 : 0}, [](ChaosRun& run) {
      const auto all = run.run().processes();
      run.note({-1, kStruck, monotonic_ns()});
      for (const MarkedProcess& process : all) ::kill(process.pid, SIGKILL);
    });
  }
}

TEST(CrashLoop, OfKillsEndsTheRunAfterThreeTriesAndNamesTheKilled) {
  ChaosRun run({.faults = {"1:30:forward:9!"}});
  EXPECT_EQ(run.finish(kPatience), 70) << run.err();
  EXPECT_EQ(run.replaced(), 3u) << run.err();
  EXPECT_THAT(run.err().substr(run.err().rfind("tutti: rank ")), HasSubstr("was killed by signal 9"));
  EXPECT_EQ(run.run().leftovers(kGone), "");
}

}  // namespace
}  // namespace tutti::testing
