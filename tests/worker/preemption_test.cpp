// SPDX-License-Identifier: Apache-2.0
// A run that is asked to stop ends its step, saves, exits with 75, and goes on from there as if nothing had been.
#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <fstream>

#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::chrono::seconds kStopped{20};
constexpr std::chrono::seconds kGoneAfterStop{5};

/// Steps long enough for a signal to come in the middle of the run, and a line for each.
const Strings kSlow{"--hold-ms", "100", "--checkpoint"};

void expect_stopped(RunTutti& run, int signal) {
  ASSERT_TRUE(run.wait_for_output("step 4/20", kPatience)) << run.err();
  run.signal(signal);
  EXPECT_EQ(run.wait(kStopped), 75) << run.err();
  EXPECT_THAT(run.err(), HasSubstr("asked to stop: step "));
  EXPECT_THAT(run.out(), Not(HasSubstr("hash="))) << "it came to its end";
  EXPECT_EQ(run.leftovers(kGoneAfterStop), "");
}

void expect_resumed(const std::string& folder, int ranks) {
  const Strings arguments{"--checkpoint", folder, "--resume"};
  RunTutti run(ranks > 1
                   ? managed(ranks, {}, arguments)
                   : RunTutti::Options{.arguments = arguments, .environment = one_thread(), .program = exacting()});
  EXPECT_EQ(hash_of(run), reference_hash(ranks));
}

TEST(Preemption, OfAManagedRunIsAPauseOfTheSameTraining) {
  for (const Strings& exchange : {Strings{"exchange=ps", "shards=1"}, Strings{"exchange=shm"}}) {
    for (const int signal : {SIGTERM, SIGUSR1}) {
      RunTutti place = scratch();
      const std::string folder = place.folder() + "/checkpoints";
      RunTutti run(managed(2, exchange + Strings{"progress_s=0"}, kSlow + Strings{folder}));
      expect_stopped(run, signal);
      expect_resumed(folder, 2);
    }
  }
}

TEST(Preemption, ReachesTheWorkersThroughMpirun) {
  RunTutti place = scratch();
  const std::string folder = place.folder() + "/checkpoints";
  RunTutti run({.arguments = Strings{"run", "launcher=mpirun", "workers=2", "progress_s=0", "--", exacting()} + kSlow +
                             Strings{folder},
                .environment = one_thread()});
  expect_stopped(run, SIGTERM);
  expect_resumed(folder, 2);
}

TEST(Preemption, OfRanksOfMpirun) {
  RunTutti place = scratch();
  const std::string folder = place.folder() + "/checkpoints";
  RunTutti run(embedded(2, {{"TUTTI_PROGRESS_S", "0"}}, kSlow + Strings{folder}));
  expect_stopped(run, SIGUSR1);
  expect_resumed(folder, 2);
}

TEST(Preemption, OfAProcessAlone) {
  RunTutti place = scratch();
  const std::string folder = place.folder() + "/checkpoints";
  Environment environment = one_thread();
  environment["TUTTI_PROGRESS_S"] = "0";
  RunTutti run({.arguments = kSlow + Strings{folder}, .environment = environment, .program = exacting()});
  expect_stopped(run, SIGTERM);
  expect_resumed(folder, 1);
}

TEST(Preemption, OfOneRankStopsAllInTheSameStep) {
  for (const Strings& exchange : {Strings{"exchange=ps", "shards=1"}, Strings{"exchange=gloo"}}) {
    RunTutti place = scratch();
    const std::string folder = place.folder() + "/checkpoints";
    RunTutti run(managed(2, exchange, {"--checkpoint", folder, "--variant-rank", "1", "--signal-at", "9"}));
    EXPECT_EQ(run.wait(kStopped), 75) << run.err();
    EXPECT_THAT(run.err(), AllOf(HasSubstr("asked to stop: step 9 was the last"), Not(HasSubstr("exited with code"))));
    if (exchange[0] == "exchange=ps") expect_resumed(folder, 2);
  }
}

TEST(Preemption, InTheLastStepOfTheRunIsTooLate) {
  RunTutti run(managed(2, {"exchange=shm"}, {"--variant-rank", "1", "--signal-at", "19"}));
  EXPECT_EQ(hash_of(run), reference_hash(2));
}

/// As /proc shows it: a mask in hexadecimal.
bool handles_signal(pid_t pid, int signal) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigCgt:")) return (std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) != 0;
  }
  return false;
}

/// The first signal leaves a step that lasts for minutes alone; one more, half a second later, does not.
void expect_second_signal_ends(RunTutti& run, const std::string& worker, int expected) {
  ASSERT_TRUE(eventually(kPatience, [&] {
    const auto workers = run.processes(worker);
    return !workers.empty() && handles_signal(workers.front().pid, SIGTERM);
  })) << run.err();
  std::optional<int> code;
  int sent = 0;
  EXPECT_TRUE(eventually(kStopped, [&] {
    run.signal(SIGTERM);
    ++sent;
    code = run.wait(std::chrono::milliseconds(100));
    return code.has_value();
  }));
  EXPECT_EQ(code, expected) << run.err();
  EXPECT_GT(sent, 1) << "the first one ended it";
  EXPECT_EQ(run.leftovers(kGoneAfterStop), "");
}

TEST(Preemption, ASecondSignalEndsItAtOnce) {
  const Strings long_steps{"--hold-ms", "100000"};
  RunTutti agent(managed(2, {"exchange=shm"}, long_steps));
  expect_second_signal_ends(agent, exacting(), 75);
  RunTutti alone({.arguments = long_steps, .environment = one_thread(), .program = exacting()});
  expect_second_signal_ends(alone, exacting(), 128 + SIGTERM);
}

}  // namespace
}  // namespace tutti::testing
