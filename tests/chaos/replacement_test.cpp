// SPDX-License-Identifier: Apache-2.0
// Lost workers are replaced, and the final parameters are those of a run that lost none.
#include <gmock/gmock.h>

#include <csignal>
#include <cstdio>

#include "tests/chaos/chaos_run.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// Runs to its end and gives the same bits as an undisturbed one, after exactly so many losses.
void expect_all_steps(ChaosRun& run, std::size_t losses) {
  run.expect_same_bits();
  EXPECT_EQ(value_of(run.run().out(), "steps"), "200");
  EXPECT_EQ(run.replaced(), losses) << run.err();
}

TEST(KilledWorker, AtEveryPlaceOfAStepIsReplacedAndTheBitsAreThoseOfAnUndisturbedRun) {
  ChaosRun run({.faults = {"1:24:forward:9", "2:46:backward:9", "3:68:hook:9", "0:90:+200:9", "1:112:+1000:9",
                           "0:134:after:9", "3:156:stepped:11"}});
  expect_all_steps(run, 7);
  EXPECT_THAT(run.err(), HasSubstr("was killed by signal 9 (Killed) at step 24"));
  EXPECT_THAT(run.err(), HasSubstr("was killed by signal 11 (Segmentation fault)"));
  run.report("3", 7);
}

TEST(KilledWorker, OutsideOfItsStepsIsReplacedToo) {
  ChaosRun run({.faults = {"1:2:epoch:9", "0:0:end:9"}});
  expect_all_steps(run, 2);
  EXPECT_EQ(run.measured().size(), 2u);
  ChaosRun at_the_start({.faults = {"1:0:start:9"}});
  expect_all_steps(at_the_start, 1);
  EXPECT_EQ(at_the_start.measured().size(), 1u);
  std::printf("measured row=35 exchange=shm SHA=yes\n");
}

TEST(Replacement, TwoRanksAtOnceAreReplaced) {
  ChaosRun run({.faults = {"1:60:backward:9", "2:60:backward:9"}});
  expect_all_steps(run, 2);
}

TEST(Replacement, AdamsStateGoesToTheNewcomer) {
  ChaosRun run({.optimizer = "adam", .faults = {"0:61:hook:9", "3:120:forward:11"}});
  expect_all_steps(run, 2);
}

TEST(Replacement, ExceptionThatComesAgainAtEveryTryEndsTheRunWithItsWords) {
  ChaosRun run({.faults = {"1:30:forward:throw!"}});
  EXPECT_EQ(run.finish(kPatience), 70);
  EXPECT_EQ(run.replaced(), 3u) << run.err();
  const std::string last = run.err().substr(run.err().rfind("tutti: rank "));
  EXPECT_THAT(last, HasSubstr("an exception of the program's own"));
  EXPECT_THAT(last, Not(HasSubstr(kReplaced))) << "the cause comes last";
}

}  // namespace
}  // namespace tutti::testing
