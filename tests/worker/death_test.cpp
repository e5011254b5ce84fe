// SPDX-License-Identifier: Apache-2.0
// Where no process is replaced, one that dies ends the run within two seconds with one line, and nothing of the run is
// left. The moments of death are drawn over the whole life of the run, from a seed that is printed.
#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr int kMoments = 12;
constexpr milliseconds kEnd{2000};         // from a death to the end of all workers and shards
constexpr milliseconds kCommandEnd{6000};  // and to that of the command
constexpr milliseconds kGone{3000};        // and until nothing is left

/// Runs on which to place moments: two agents under mpirun, two workers, two shards, 20 steps of at least 40 ms.
RunTutti::Options victim() {
  return {.arguments = {"run", "launcher=mpirun", "workers=2", "shards=2", "exchange=ps", "replacements=0", "--",
                        exacting(), "--hold-ms", "40"},
          .environment = one_thread()};
}

milliseconds life_of_a_run() {
  const auto begin = std::chrono::steady_clock::now();
  RunTutti run(victim());
  EXPECT_EQ(run.wait(kPatience), 0) << run.err();
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
}

/// A process of the run, by a drawn number: worker, shard, agent or the launcher itself.
std::optional<MarkedProcess> draw_victim(const RunTutti& run, std::mt19937& random) {
  std::vector<MarkedProcess> alive = run.processes();
  if (alive.empty()) return std::nullopt;
  return alive[random() % alive.size()];
}

std::size_t servers(const RunTutti& run) {
  return run.processes(bin_folder() + "/tutti server").size();
}

TEST(Death, AtAnyMomentEndsTheRunAndLeavesNothing) {
  const unsigned seed = std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  const milliseconds life = life_of_a_run();
  int struck = 0;
  for (int moment = 0; moment < kMoments; ++moment) {
    RunTutti run(victim());
    // The moment itself is drawn: there is no condition to wait for.
    if (run.wait(milliseconds(random() % static_cast<unsigned>(life.count())))) continue;
    const auto drawn = draw_victim(run, random);
    if (!drawn || ::kill(drawn->pid, SIGKILL) != 0) continue;
    ++struck;
    // Then only mpirun is left, which takes a second or two for its own ending.
    EXPECT_TRUE(eventually(kEnd, [&] { return run.processes(exacting()).empty() && servers(run) == 0; })) << run.err();
    const auto code = run.wait(kCommandEnd);
    EXPECT_TRUE(code.has_value()) << "still running after the death of " << drawn->command << "\n" << run.err();
    EXPECT_EQ(run.leftovers(kGone), "") << "after the death of " << drawn->command;
  }
  EXPECT_GE(struck, kMoments / 2) << "too few of the runs were struck";
}

TEST(Death, OfAWorkerIsOneLineWithRankHostSignalAndStep) {
  for (const Strings& exchange : {Strings{"exchange=ps", "shards=2"}, Strings{"exchange=shm"}}) {
    RunTutti run(managed(2, exchange + Strings{"replacements=0"}, {"--kill-at", "7"}));
    const auto code = run.wait(kPatience);
    ASSERT_TRUE(code.has_value());
    EXPECT_NE(*code, 0);
    EXPECT_THAT(run.err(), HasSubstr("rank 1 on "));
    EXPECT_THAT(run.err(), HasSubstr("signal 9"));
    EXPECT_THAT(run.err(), HasSubstr("step 7"));
    EXPECT_EQ(run.leftovers(kGone), "");
  }
}

TEST(Death, OfAWorkerIsExplainedByTheBucketThatTheOthersWaitedFor) {
  for (const Strings& exchange : {Strings{"exchange=ps", "shards=2"}, Strings{"exchange=shm"}}) {
    RunTutti run(managed(2, exchange + Strings{"replacements=0"}, {"--kill-at", "7"}));
    EXPECT_NE(run.wait(kPatience).value_or(0), 0);
    const std::string err = run.err();
    EXPECT_LT(err.find("tutti: rank 1 on "), err.find("tutti: recordings: ")) << err;
    EXPECT_THAT(err, HasSubstr(" s after iteration_begin 7)"));
    const std::string command = "; tutti explain ";
    const std::size_t at = err.find(command) + command.size();
    const std::string folder = err.substr(at, err.find('\n', at) - at);
    RunTutti explain({.arguments = {"explain", folder}});
    EXPECT_EQ(explain.wait(kPatience), 0) << explain.err();
    EXPECT_THAT(explain.out(), ContainsRegex("rank 1 on [^\n]* stopped first: killed by signal 9 .*; done: step 6, "));
    EXPECT_THAT(explain.out(), ContainsRegex("rank 0 on [^\n]* waited for bucket [0-9]+ since [-+]0"));
  }
}

TEST(Recordings, OfRunsWithoutAgentsGoWhenTheyEndWell) {
  RunTutti together(embedded(2, {{"TUTTI_EXCHANGE", "shm"}}));
  EXPECT_EQ(together.wait(kPatience), 0) << together.err();
  for (const auto& run : std::filesystem::directory_iterator(together.folder() + "/runs")) {
    for (const auto& left : std::filesystem::directory_iterator(run))
      EXPECT_EQ(left.path().filename(), "history.jsonl");
  }
  RunTutti alone({.arguments = {}, .environment = one_thread(), .program = exacting()});
  EXPECT_EQ(alone.wait(kPatience), 0) << alone.err();
  EXPECT_TRUE(std::filesystem::is_empty(alone.folder() + "/runs"));
}

TEST(Death, OfAnEmbeddedRankEndsTheJobAndNamesIt) {
  RunTutti run(embedded(3, {{"TUTTI_EXCHANGE", "mpi"}}, {"--kill-at", "7"}));
  const auto code = run.wait(kPatience);
  ASSERT_TRUE(code.has_value());
  EXPECT_NE(*code, 0);
  EXPECT_THAT(run.err(), HasSubstr("rank 1"));
  EXPECT_EQ(run.leftovers(kGone), "");
}

}  // namespace
}  // namespace tutti::testing
