// SPDX-License-Identifier: Apache-2.0
// Lost processes are replaced, and the final parameters are those of a run that lost none.
#include <gmock/gmock.h>

#include <csignal>

#include "tests/chaos/chaos_run.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// Runs to its end and gives the same bits as an undisturbed one, after exactly so many losses.
void expect_same_bits(const ChaosOptions& options, std::size_t losses) {
  RunTutti marks = scratch();
  RunTutti run(chaos_run(options, marks.folder()));
  EXPECT_EQ(hash_of(run), undisturbed_hash(options)) << run.err();
  EXPECT_EQ(value_of(run.out(), "steps"), "200");
  EXPECT_EQ(count(run.err(), "begins with a new process"), losses) << run.err();
}

struct Place {
  std::string fault, told;
};

void PrintTo(const Place& place, std::ostream* out) {
  *out << place.fault;
}

class KilledWorker : public ::testing::TestWithParam<Place> {};

TEST_P(KilledWorker, IsReplacedAndTheBitsAreThoseOfAnUndisturbedRun) {
  ChaosOptions options;
  options.faults = {GetParam().fault};
  RunTutti marks = scratch();
  RunTutti run(chaos_run(options, marks.folder()));
  EXPECT_EQ(hash_of(run), undisturbed_hash(options)) << run.err();
  EXPECT_EQ(count(run.err(), "begins with a new process"), 1u);
  EXPECT_THAT(run.err(), HasSubstr(GetParam().told));
}

INSTANTIATE_TEST_SUITE_P(Chaos, KilledWorker,
                         ::testing::Values(Place{"1:37:forward:9", "was killed by signal 9 (Killed) at step 37"},
                                           Place{"2:38:backward:9", "rank 2"}, Place{"3:39:hook:9", "rank 3"},
                                           Place{"0:40:+200:9", "rank 0"}, Place{"1:41:+1000:9", "rank 1"},
                                           Place{"0:42:after:9", "rank 0"}, Place{"3:43:stepped:9", "rank 3"},
                                           Place{"1:2:epoch:9", "rank 1"}, Place{"0:0:end:9", "rank 0"}));

TEST(Replacement, TwoRanksAtOnceAreReplaced) {
  ChaosOptions options;
  options.faults = {"1:60:backward:9", "2:60:backward:9"};
  expect_same_bits(options, 2);
}

TEST(Replacement, AdamsStateGoesToTheNewcomer) {
  ChaosOptions options;
  options.optimizer = "adam";
  options.faults = {"0:61:hook:9", "3:120:forward:11"};
  expect_same_bits(options, 2);
}

TEST(Replacement, LossBeforeTheFirstStepLetsAllBeginAgain) {
  ChaosOptions options;
  options.faults = {"1:0:start:9"};
  expect_same_bits(options, 1);
}

TEST(Replacement, ExceptionThatComesAgainAtEveryTryEndsTheRunWithItsWords) {
  ChaosOptions options;
  options.faults = {"1:30:forward:0"};
  RunTutti run(chaos_run(options, ""));
  EXPECT_EQ(run.wait(kPatience), 70);
  EXPECT_EQ(count(run.err(), "begins with a new process"), 3u) << run.err();
  const std::string last = run.err().substr(run.err().rfind("tutti: rank "));
  EXPECT_THAT(last, HasSubstr("an exception of the program's own"));
  EXPECT_THAT(last, Not(HasSubstr("begins with a new process"))) << "the cause comes last";
}

}  // namespace
}  // namespace tutti::testing
