// SPDX-License-Identifier: Apache-2.0
// What guards a run's numbers: gradients that are not finite, replicas that differ, loops of different lengths.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>

#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Rank 1's loss is no number from `step` on, for `steps` steps.
Strings nan_at(int step, int steps) {
  return {"--variant-rank", "1", "--nan-at", std::to_string(step), "--nan-steps", std::to_string(steps)};
}

TEST(NanPolicy, AllRanksLeaveTheSameStepsOutAndNothingElseChanges) {
  for (const int step : {0, 7}) {
    const std::string expected = reference_hash(3, nan_at(step, 2));
    ASSERT_NE(expected, reference_hash(3));
    for (const Strings& exchange : {Strings{"exchange=ps", "shards=2"}, Strings{"exchange=shm"}}) {
      RunTutti run(managed(3, exchange, nan_at(step, 2)));
      EXPECT_EQ(hash_of(run), expected) << exchange[0] << " at step " << step;
      EXPECT_THAT(run.err(), HasSubstr("step " + std::to_string(step + 1) +
                                       " is left out on all ranks: rank 1's gradient of parameter \"wide.bias\""));
      EXPECT_THAT(run.log("rank-1.log"), HasSubstr("is left out on all ranks: rank 1's"));
      EXPECT_THAT(run.log("rank-2.log"), Not(HasSubstr("is left out")));
    }
  }
}

TEST(NanPolicy, TheThirdInARowEndsTheRunAndNamesRankAndTensor) {
  RunTutti run(managed(3, {"exchange=shm"}, nan_at(5, 3)));
  EXPECT_EQ(run.wait(kPatience), 65) << run.err();
  EXPECT_THAT(run.err(), AllOf(HasSubstr("tutti: rank 1 on "), HasSubstr("at step 7"),
                               HasSubstr("rank 1's gradient of parameter \"wide.bias\" is not finite in the third")));
}

TEST(NanPolicy, OfHaltEndsTheRunAtTheFirst) {
  RunTutti run(managed(2, {"exchange=shm", "nan_policy=halt"}, nan_at(5, 1)));
  EXPECT_EQ(run.wait(kPatience), 65) << run.err();
  EXPECT_THAT(run.err(), AllOf(HasSubstr("tutti: rank 1 on "), HasSubstr("at step 5")));
}

TEST(NanPolicy, OfIgnoreTakesItAsItIs) {
  RunTutti run(managed(2, {"exchange=shm", "nan_policy=ignore"}, nan_at(5, 1)));
  EXPECT_NE(hash_of(run), reference_hash(2, nan_at(5, 1)));
  EXPECT_THAT(run.err(), Not(HasSubstr("is left out")));
}

TEST(NanPolicy, HoldsForRanksOfMpirun) {
  RunTutti run(embedded(2, {}, nan_at(4, 1)));
  EXPECT_EQ(hash_of(run), reference_hash(2, nan_at(4, 1)));
}

/// A bit of this rank's weights flips after `step`.
Strings flip_at(int rank, int step) {
  return {"--variant-rank", std::to_string(rank), "--flip-at", std::to_string(step)};
}

TEST(Replicas, AFlippedBitMakesAllGoBackToTheCheckpointThatTheyAgreedOn) {
  const std::string expected = reference_hash(3);
  for (const Strings& exchange : {Strings{"exchange=ps", "shards=2"}, Strings{"exchange=shm"}}) {
    for (const int rank : {0, 2}) {
      RunTutti place = scratch();
      const Strings saves{"--checkpoint", place.folder() + "/checkpoints", "--save-every", "5"};
      RunTutti run(managed(3, exchange + Strings{"replica_check_every=4"}, flip_at(rank, 10) + saves));
      EXPECT_EQ(hash_of(run), expected) << exchange[0];
      EXPECT_THAT(run.err(),
                  AllOf(HasSubstr("after step 11 the parameters differ: rank " + std::to_string(rank) + " ("),
                        HasSubstr("all ranks go back to step 10")));
    }
  }
}

TEST(Replicas, WhatTheyDisagreeOnIsNotSaved) {
  RunTutti place = scratch();
  const std::string folder = place.folder() + "/checkpoints";
  // The comparison of every 100 steps never comes: what finds it is the save after step 14.
  RunTutti run(managed(3, {"exchange=shm"}, flip_at(1, 12) + Strings{"--checkpoint", folder, "--save-every", "5"}));
  EXPECT_EQ(hash_of(run), reference_hash(3));
  EXPECT_THAT(run.err(), HasSubstr("after step 14 the parameters differ: rank 1 ("));
}

TEST(Replicas, WithoutACheckpointTheOddRankEndsTheRun) {
  RunTutti run(managed(3, {"exchange=shm", "replica_check_every=4"}, flip_at(1, 9)));
  EXPECT_EQ(run.wait(kPatience), 65) << run.err();
  EXPECT_THAT(run.err(), AllOf(HasSubstr("tutti: rank 1 on "), HasSubstr("differ after step 11: rank 1 ("),
                               HasSubstr("there is no checkpoint to go back to")));
}

TEST(Replicas, TwoThatDifferHaltAndBothHashesAreTold) {
  RunTutti place = scratch();
  const Strings saves{"--checkpoint", place.folder() + "/checkpoints", "--save-every", "5"};
  RunTutti run(managed(2, {"exchange=shm", "replica_check_every=4"}, flip_at(1, 10) + saves));
  EXPECT_EQ(run.wait(kPatience), 65) << run.err();
  EXPECT_THAT(run.err(), AllOf(HasSubstr("differ after step 11: rank 0 ("), HasSubstr(", rank 1 ("),
                               HasSubstr("with no majority")));
}

TEST(Replicas, AreNotComparedWhereThatIsOff) {
  RunTutti run(managed(3, {"exchange=shm", "replica_check_every=0"}, flip_at(1, 9)));
  EXPECT_NE(run.wait(kPatience), 0);
  EXPECT_THAT(run.err(), AllOf(HasSubstr("the ranks end with different parameters"), Not(HasSubstr("after step"))));
}

TEST(Join, RanksWithDifferentNumbersOfBatchesEndWithTheSameState) {
  for (const std::string optimizer : {"sgd", "adam"}) {
    const Strings batches{"--optimizer", optimizer, "--own-batches", "5", "7", "9"};
    RunTutti shm(managed(3, {"exchange=shm"}, batches));
    const std::string hash = hash_of(shm);
    RunTutti ps(managed(3, {"exchange=ps", "shards=2"}, batches));
    EXPECT_EQ(hash_of(ps), hash);
    RunTutti gloo(managed(3, {"exchange=gloo"}, batches));
    hash_of(gloo);  // the program itself compares the ranks
  }
}

TEST(Join, TheLastRankMayBeAnyAndOneMayHaveNothing) {
  for (const Strings& counts : {Strings{"9", "0", "5"}, Strings{"0", "6", "0"}, Strings{"4", "4", "4"}}) {
    RunTutti run(managed(3, {"exchange=shm"}, Strings{"--optimizer", "adam", "--own-batches"} + counts));
    hash_of(run);
  }
}

TEST(Join, TheBytesOfTheLastRankAreNotRoundedOnTheirWay) {
  RunTutti run(managed(3, {"exchange=ps", "shards=1", "wire_dtype=bfloat16"}, {"--own-batches", "2", "3", "5"}));
  hash_of(run);
}

TEST(Join, RanksOfMpirunDoItToo) {
  RunTutti run(embedded(3, {{"TUTTI_EXCHANGE", "mpi"}}, {"--own-batches", "5", "7", "9"}));
  hash_of(run);
}

}  // namespace
}  // namespace tutti::testing
