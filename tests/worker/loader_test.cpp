// SPDX-License-Identifier: Apache-2.0
// Loops of the program's own: loaders with worker threads, schedulers, two models with two optimizers.
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

std::string tutorial() {
  return bin_folder() + "/test_tutorial";
}

RunTutti::Options run(const Strings& configuration, const Strings& arguments) {
  return {.arguments =
              Strings{"run", "launcher=local", "workers=2"} + configuration + Strings{"--", tutorial()} + arguments,
          .environment = one_thread()};
}

TEST(Loader, ATutorialsLoopGivesTheSameBitsEveryTimeAndOnEveryRank) {
  RunTutti first(run({"exchange=ps", "shards=1"}, {})), second(run({"exchange=ps", "shards=2"}, {}));
  EXPECT_EQ(hash_of(first), hash_of(second));
}

TEST(Loader, APositionCountsConsumedBatchesNotPrefetchedOnes) {
  RunTutti whole(run({"exchange=ps", "shards=1"}, {}));
  const std::string expected = hash_of(whole);
  // 203 samples on two ranks are 13 steps of 8: step 17 lies in the second epoch.
  RunTutti place = scratch();
  const std::string folder = place.folder() + "/saved";
  RunTutti first(run({"exchange=ps", "shards=1"}, {"--stop", "17", folder}));
  ASSERT_EQ(first.wait(kPatience), 0) << first.err();
  RunTutti rest(run({"exchange=ps", "shards=1"}, {"--resume", "0", folder}));
  EXPECT_EQ(hash_of(rest), expected);
}

TEST(Loader, AProgramOfMpisOwnTrainsOverAPartOfItsRanks) {
  RunTutti run(
      {.arguments = {"mpirun", "-np", "3", "--bind-to", "none", "--oversubscribe", tutorial(), "--own-communicator"},
       .environment = one_thread(),
       .program = "/usr/bin/env"});
  ASSERT_EQ(run.wait(kPatience), 0) << run.err();
  EXPECT_EQ(value_of(run.out(), "ranks"), "2") << run.out();
}

TEST(Loader, TwoModelsWithTwoOptimizersAndThreeBackwardsAStepStayEqualOnAllRanks) {
  RunTutti first(run({"exchange=ps", "shards=2"}, {"--gan"})), second(run({"exchange=ps", "shards=1"}, {"--gan"}));
  EXPECT_EQ(hash_of(first), hash_of(second));
}

}  // namespace
}  // namespace tutti::testing
