// SPDX-License-Identifier: Apache-2.0
// Runs that lose more than a process, an agent or all of them, and runs whose world changes.
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "tests/chaos/chaos_run.h"
#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::HasSubstr;

Strings checkpoints_in(const std::string& folder) {
  return {"checkpoint_dir=" + folder + "/checkpoints", "checkpoint_every=50", "progress_s=0"};
}

class LostAgents : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Chaos, LostAgents, ::testing::Values("local", "mpirun"));

TEST_P(LostAgents, RunIsStartedAgainAndEndsInTheSameBits) {
  const RunTutti place = scratch();
  ChaosOptions options;
  options.workers = 2;
  const std::string hash = undisturbed_hash(options);
  options.hold_ms = 10;
  options.configuration = checkpoints_in(place.folder()) + Strings{"restarts=1", std::string("launcher=") + GetParam()};
  RunTutti run(chaos_run(options, ""));
  ASSERT_TRUE(run.wait_for_output("step 70/200", kPatience)) << run.err();
  ASSERT_GT(run.first_child(), 0);
  ::kill(run.first_child(), SIGKILL);
  EXPECT_EQ(hash_of(run), hash);
  EXPECT_EQ(value_of(run.out(), "steps"), "200");
  EXPECT_EQ(count(run.err(), "; restart 1 of 1 in 1 s, from checkpoint step-000000000050"), 1u) << run.err();
  EXPECT_EQ(run.leftovers(kGone), "");
}

/// A task of `srun --mpi=none -K0 -k -n 3`, as its environment shows it.
RunTutti::Options task(int number, const std::string& shared, const ChaosOptions& options) {
  RunTutti::Options run = chaos_run(options, "");
  std::erase(run.arguments, "launcher=local");
  run.environment.insert({{"SLURM_JOB_ID", "1"},
                          {"SLURM_STEP_ID", "0"},
                          {"SLURM_PROCID", std::to_string(number)},
                          {"SLURM_NTASKS", "3"},
                          {"TUTTI_LOG_DIR", shared}});
  return run;
}

TEST(LostAgent, ItsRanksAreTakenOverAndTheRunEndsInTheSameBits) {
  const RunTutti place = scratch();
  ChaosOptions options;
  options.workers = 3;
  const std::string hash = undisturbed_hash(options);
  options.hold_ms = 10;
  // Its ranks are taken over when its lease has ended: after a timeout.
  options.configuration = checkpoints_in(place.folder()) + Strings{"timeout_s=8"};
  std::vector<std::unique_ptr<RunTutti>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(std::make_unique<RunTutti>(task(i, place.folder(), options)));
  ASSERT_TRUE(tasks[0]->wait_for_output("step 70/200", kPatience)) << tasks[0]->err();
  tasks[1]->signal(SIGKILL);
  EXPECT_EQ(tasks[1]->wait(kPatience), 128 + SIGKILL);
  EXPECT_EQ(tasks[1]->leftovers(kGone), "");
  EXPECT_EQ(hash_of(*tasks[0]), hash);
  EXPECT_EQ(tasks[2]->wait(kPatience), 0) << tasks[2]->err();
  EXPECT_THAT(tasks[0]->err(), HasSubstr("all begin again as 3 workers"));
  EXPECT_EQ(count(tasks[0]->err(), "agent 1 on "), 1u) << tasks[0]->err();
}

/// What the iterations of each step were given. A step that was done again, in another world, counts once.
struct Step {
  std::int64_t epoch = 0;
  int ranks = 0;
  std::map<int, std::vector<int>> samples;  // by rank
};

std::map<std::int64_t, Step> steps_in(const std::string& folder) {
  std::vector<std::filesystem::directory_entry> files(std::filesystem::directory_iterator(folder), {});
  std::ranges::sort(files, {}, [](const auto& file) { return file.last_write_time(); });
  std::map<std::int64_t, Step> steps;
  for (const auto& file : files) {
    std::ifstream lines(file.path());
    for (std::string line; std::getline(lines, line);) {
      std::istringstream in(line);
      std::int64_t number = 0, epoch = 0;
      int ranks = 0, rank = 0;
      in >> number >> epoch >> ranks >> rank;
      Step& step = steps[number];
      if (step.ranks != ranks) step = {epoch, ranks, {}};
      std::vector<int>& samples = step.samples[rank];
      samples.assign(std::istream_iterator<int>(in), {});
    }
  }
  return steps;
}

/// Every epoch has seen every sample; twice only those that fill its last step up.
void expect_every_sample_once(const std::map<std::int64_t, Step>& steps, int epochs, int samples) {
  std::map<std::int64_t, std::multiset<int>> seen, before_the_last;
  for (const auto& [number, step] : steps) {
    EXPECT_EQ(step.samples.size(), static_cast<std::size_t>(step.ranks)) << "step " << number;
    before_the_last[step.epoch] = seen[step.epoch];
    for (const auto& [rank, of_rank] : step.samples) seen[step.epoch].insert(of_rank.begin(), of_rank.end());
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(epochs));
  for (const auto& [epoch, all] : seen) {
    EXPECT_EQ(std::set<int>(all.begin(), all.end()).size(), static_cast<std::size_t>(samples)) << "epoch " << epoch;
    const std::multiset<int>& first = before_the_last[epoch];
    EXPECT_EQ(std::set<int>(first.begin(), first.end()).size(), first.size()) << "epoch " << epoch;
  }
}

/// The folder of the only run that `run` has begun.
std::string folder_of(const RunTutti& run) {
  return std::filesystem::directory_iterator(run.folder() + "/runs")->path().string();
}

TEST(Elastic, WorldGrowsAndShrinksAndEverySampleIsSeenOncePerEpoch) {
  const RunTutti place = scratch();
  const std::string lines = place.folder() + "/lines";
  std::filesystem::create_directory(lines);
  const std::string worn = place.folder() + "/worn";
  RunTutti run({.arguments = Strings{"run", "launcher=local", "workers=2:3", "exchange=shm", "replacements=1",
                                     "checkpoint_dir=" + place.folder() + "/checkpoints", "checkpoint_every=20",
                                     "progress_s=0", "--", bin_folder() + "/test_counting", lines, "--worn-world", "3",
                                     "--worn-rank", "1", "--worn-file", worn},
                .environment = one_thread()});
  ASSERT_TRUE(run.wait_for_output("step 30/", kPatience)) << run.err();
  const bool began_small = count(run.err(), "2 workers") > 0;
  if (began_small) {
    RunTutti resize({.arguments = {"resize", folder_of(run), "3"}});
    EXPECT_EQ(resize.wait(kPatience), 0) << resize.err();
  }
  const auto steps_of_three = [&] {
    return std::ranges::count_if(steps_in(lines), [](const auto& step) { return step.second.ranks == 3; });
  };
  ASSERT_TRUE(eventually(kPatience, [&] { return steps_of_three() >= 40; })) << run.err();
  std::ofstream(worn).flush();
  EXPECT_EQ(run.wait(kPatience), 0) << run.err();
  EXPECT_EQ(value_of(run.out(), "ranks"), "2") << run.err();
  EXPECT_EQ(count(run.err(), "the world changes from 2 workers to 3"), began_small ? 1u : 0u) << run.err();
  EXPECT_EQ(count(run.err(), "rank 1 on "), 2u) << run.err();
  EXPECT_EQ(count(run.err(), "all begin again as 2 workers"), 1u) << run.err();
  const auto steps = steps_in(lines);
  expect_every_sample_once(steps, 3, 480);
  EXPECT_EQ(std::to_string(steps.size()), value_of(run.out(), "steps"));
  EXPECT_GE(steps_of_three(), 10) << "all but those since the newest checkpoint";
  EXPECT_EQ(run.leftovers(kGone), "");
}

}  // namespace
}  // namespace tutti::testing
