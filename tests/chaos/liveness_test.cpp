// SPDX-License-Identifier: Apache-2.0
// Processes that are stopped, stuck or slow, and not dead: the first two are named, ended and replaced; the third is
// named and waited for.
#include <gmock/gmock.h>

#include <csignal>
#include <filesystem>

#include "tests/chaos/chaos_run.h"
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

bool has_struck(const RunTutti& marks) {
  return std::filesystem::exists(marks.folder() + "/fault-0");
}

TEST(Liveness, StoppedWorkerIsNamedAfterASecondAndReplacedAfterThree) {
  ChaosOptions options = watched();
  options.faults = {"2:60:forward:" + std::to_string(SIGSTOP)};
  RunTutti marks = scratch();
  RunTutti run(chaos_run(options, marks.folder()));
  EXPECT_EQ(hash_of(run), undisturbed_hash(options)) << run.err();
  EXPECT_TRUE(has_struck(marks));
  EXPECT_THAT(run.err(), ContainsRegex("rank 2 on [^ ]* has not been heard of for 1\\.[0-9] s .at step 60."));
  EXPECT_THAT(run.err(),
              ContainsRegex("rank 2 on [^ ]* was lost at step 60 .*it has not been heard of for 3\\.[0-9] s"));
  EXPECT_EQ(count(run.err(), "begins with a new process"), 1u) << run.err();
}

TEST(Liveness, PauseOfTwoSecondsEvictsNobody) {
  ChaosOptions options = watched();
  options.faults = {"1:60:pause:2000"};
  RunTutti marks = scratch();
  RunTutti run(chaos_run(options, marks.folder()));
  EXPECT_EQ(hash_of(run), undisturbed_hash(options)) << run.err();
  EXPECT_TRUE(has_struck(marks));
  EXPECT_THAT(run.err(), ContainsRegex("rank 1 on [^ ]* has not been heard of for"));
  EXPECT_THAT(run.err(), Not(HasSubstr("begins with a new process")));
}

TEST(Liveness, WorkerThatSpinsIsNamedAndReplaced) {
  ChaosOptions options = watched();
  options.faults = {"3:60:spin"};
  RunTutti marks = scratch();
  RunTutti run(chaos_run(options, marks.folder()));
  EXPECT_EQ(hash_of(run), undisturbed_hash(options)) << run.err();
  EXPECT_TRUE(has_struck(marks));
  EXPECT_THAT(run.err(), ContainsRegex("rank 3 on [^ ]* was lost at step 60 .*after iteration_begin 60.: it makes no "
                                       "progress, and the others have waited"));
  EXPECT_THAT(run.err(), Not(HasSubstr("has not been heard of")));
  EXPECT_EQ(count(run.err(), "begins with a new process"), 1u) << run.err();
}

TEST(Liveness, SlowWorkerIsNamedAndWaitedFor) {
  ChaosOptions options = watched();
  options.slow = "3:50:80:150";
  RunTutti run(chaos_run(options, ""));
  EXPECT_EQ(hash_of(run), undisturbed_hash(options)) << run.err();
  EXPECT_THAT(run.err(), ContainsRegex("rank 3 on [^ ]* is slow: the others waited .* for it .at step (5|6)[0-9]."));
  EXPECT_THAT(run.err(), Not(HasSubstr("begins with a new process")));
}

}  // namespace
}  // namespace tutti::testing
