// SPDX-License-Identifier: Apache-2.0
// Runs that save by themselves, end in whatever way, and go on: in the same bits in the same world, with every sample
// of an epoch seen once in another.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Checkpointing : public ::testing::Test {
 protected:
  std::string folder() const { return place_.folder() + "/checkpoints"; }
  std::string newest() const { return folder() + "/" + names().back(); }
  Strings names() const {
    Strings names;
    for (const auto& entry : fs::directory_iterator(folder())) names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
  Strings automatic(const Strings& configuration, int every = 5) const {
    return configuration + Strings{"checkpoint_dir=" + folder(), "checkpoint_every=" + std::to_string(every)};
  }
  /// Rank 1 is killed in step 13: what was saved at step 10 is there.
  void die_in_step_13(const Strings& configuration, const Strings& arguments = {}) {
    RunTutti run(managed(2, automatic(configuration),
                         arguments + Strings{"--kill-at", "13", "--kill-after", folder() + "/step-000000000010"}));
    EXPECT_NE(run.wait(kPatience), 0);
    EXPECT_THAT(run.err(), HasSubstr("at step 13"));
    ASSERT_THAT(names(), ElementsAre("step-000000000005", "step-000000000010"));
  }

  RunTutti place_ = scratch();
};

TEST_F(Checkpointing, AKilledRunGoesOnByItselfAndEndsInTheSameBits) {
  for (const std::string optimizer : {"sgd", "adam"}) {
    die_in_step_13({"exchange=ps", "shards=1"}, {"--optimizer", optimizer});
    RunTutti rest(managed(2, automatic({"exchange=ps", "shards=2"}), {"--optimizer", optimizer}));
    EXPECT_EQ(hash_of(rest), reference_hash(2, {"--optimizer", optimizer})) << optimizer;
    EXPECT_THAT(rest.err(), HasSubstr("step-000000000010: step 10, epoch 1"));
    EXPECT_THAT(names(), ElementsAre("step-000000000010", "step-000000000015", "step-000000000020"))
        << "checkpoint_keep is 3";
    fs::remove_all(folder());
  }
}

TEST_F(Checkpointing, ATornNewestIsPassedOverAndToldAndTheBitsAreTheSame) {
  die_in_step_13({"exchange=shm"});
  const std::string torn = newest() + "/tensors.safetensors";
  fs::resize_file(torn, fs::file_size(torn) / 2);
  RunTutti rest(managed(2, automatic({"exchange=shm"})));
  EXPECT_EQ(hash_of(rest), reference_hash(2));
  EXPECT_THAT(rest.err(), HasSubstr("passed over: " + torn));
  EXPECT_THAT(rest.err(), HasSubstr("step-000000000005: step 5, epoch 0"));
}

TEST_F(Checkpointing, ARunThatWasDoneGoesOnToTheSameEnd) {
  RunTutti whole(managed(2, automatic({"exchange=shm"})));
  const std::string expected = hash_of(whole);
  ASSERT_THAT(names(), ElementsAre("step-000000000010", "step-000000000015", "step-000000000020"));
  RunTutti again(managed(2, automatic({"exchange=shm"})));
  EXPECT_EQ(hash_of(again), expected);
}

TEST_F(Checkpointing, AProcessAloneSavesAndGoesOn) {
  const Environment environment = {
      {"OMP_NUM_THREADS", "1"}, {"TUTTI_CHECKPOINT_DIR", folder()}, {"TUTTI_CHECKPOINT_EVERY", "5"}};
  for (int times = 0; times < 2; ++times) {
    RunTutti run({.arguments = {}, .environment = environment, .program = exacting()});
    EXPECT_EQ(hash_of(run), reference_hash(1));
    fs::remove_all(newest());  // step 20, so that the next one has something to do
  }
}

TEST_F(Checkpointing, TrainingGoesOnWhenNothingCanBeSavedAndTheRunEndsWith74) {
  // A folder that can be listed and in which nobody can make another one.
  RunTutti run(managed(2, {"exchange=shm", "checkpoint_dir=/proc", "checkpoint_every=5"}));
  EXPECT_EQ(run.wait(kPatience), 74) << run.err();
  EXPECT_EQ(value_of(run.out(), "hash"), reference_hash(2));
  EXPECT_THAT(run.err(), HasSubstr("the checkpoint of step 5 could not be written, older ones are intact"));
  EXPECT_THAT(run.err(), HasSubstr("the last checkpoint could not be written: /proc/step-000000000020.tmp"));
}

TEST_F(Checkpointing, AFolderThatCannotBeReadEndsTheRunBeforeItBegins) {
  std::ofstream(folder()) << "a file where the folder is to be";
  RunTutti run(managed(2, automatic({"exchange=shm"})));
  EXPECT_EQ(run.wait(kPatience), 74) << run.err();
  EXPECT_THAT(run.err(), HasSubstr(folder() + " cannot be listed: Not a directory"));
}

TEST_F(Checkpointing, EverySampleIsSeenOnceWhenTheWorldGoesFromFourToTwoToThree) {
  // Step 3 with four ranks, step 5 with two, then three ranks: 3 * 16 + 2 * 8 + 3 * 12 samples fill the first epoch.
  const std::string seen = place_.folder() + "/seen";
  const Strings always = {"--samples", "100", "--checkpoint", folder()};
  RunTutti four(managed(4, {"exchange=shm"}, always + Strings{"--save-at", "3", "--seen", seen + ".four."}));
  ASSERT_EQ(four.wait(kPatience), 0) << four.err();
  RunTutti two(managed(2, {"exchange=shm"}, always + Strings{"--resume", "--save-at", "5", "--seen", seen + ".two."}));
  ASSERT_EQ(two.wait(kPatience), 0) << two.err();
  RunTutti three(managed(3, {"exchange=shm"}, always + Strings{"--resume", "--seen", seen + ".three."}));
  hash_of(three);

  std::map<std::pair<int, int>, int> times;
  for (const auto& entry : fs::directory_iterator(place_.folder())) {
    std::ifstream file(entry.path());
    int epoch = 0, sample = 0;
    if (!entry.path().filename().string().starts_with("seen.")) continue;
    while (file >> epoch >> sample) ++times[{epoch, sample}];
  }
  ASSERT_EQ(times.size(), 200u) << "of two epochs";
  int repeats_at_the_end = 0;
  for (const auto& [sample, count] : times) {
    if (sample.first == 1) {
      repeats_at_the_end += count - 1;
    } else {
      EXPECT_EQ(count, 1) << "sample " << sample.second;
    }
  }
  EXPECT_EQ(repeats_at_the_end, 8) << "108 places in nine steps of three ranks";
}

TEST_F(Checkpointing, TheBucketsAreTheSameInTheRunThatGoesOn) {
  // Gloo's sums depend on where in its bucket a gradient lies.
  const Strings gloo = {"exchange=gloo", "bucket_bytes_max=2048", "bucket_bytes_first=512"};
  RunTutti whole(managed(3, gloo));
  const std::string expected = hash_of(whole);
  RunTutti first(managed(3, gloo, {"--checkpoint", folder(), "--save-at", "7"}));
  ASSERT_EQ(first.wait(kPatience), 0) << first.err();
  RunTutti rest(managed(3, gloo, {"--checkpoint", folder(), "--resume"}));
  EXPECT_EQ(hash_of(rest), expected);
}

TEST_F(Checkpointing, ACheckpointOfAnotherModelOrSeedIsRefused) {
  RunTutti first(managed(2, automatic({})));
  hash_of(first);
  RunTutti other_model(managed(1, automatic({}), {"--variant", "shape", "--variant-rank", "0"}));
  EXPECT_EQ(other_model.wait(kPatience), 78);
  EXPECT_THAT(other_model.err(), HasSubstr("parameters/first.weight"));
  RunTutti other_seed(managed(2, automatic({"seed=9"})));
  EXPECT_EQ(other_seed.wait(kPatience), 78);
  EXPECT_THAT(other_seed.err(), HasSubstr("is of a run with seed 0, this one has 9"));
}

TEST_F(Checkpointing, EveryStepsWithoutAFolderAreRefused) {
  RunTutti run(managed(1, {"checkpoint_every=5"}));
  EXPECT_EQ(run.wait(kPatience), 64);
  EXPECT_THAT(run.err(), HasSubstr("checkpoint_every is 5, but checkpoint_dir is empty"));
}

class OwnLoops : public Checkpointing {
 protected:
  RunTutti::Options tutorial(const Strings& configuration, const Strings& arguments) const {
    return {.arguments = Strings{"run", "launcher=local", "workers=2", "exchange=shm"} + configuration +
                         Strings{"--", bin_folder() + "/test_tutorial"} + arguments,
            .environment = one_thread()};
  }
};

TEST_F(OwnLoops, AnEpochLoopGoesOnWhereItAsksTo) {
  RunTutti whole(tutorial({}, {}));
  const std::string expected = hash_of(whole);
  RunTutti saving(tutorial(automatic({}), {}));
  EXPECT_EQ(hash_of(saving), expected);
  // 39 steps in three epochs: 30 lies in the third one, 25 in the second.
  for (const int gone : {35, 30}) {
    fs::remove_all(folder() + "/step-0000000000" + std::to_string(gone));
    RunTutti rest(tutorial(automatic({}, /*every=*/100), {}));
    EXPECT_EQ(hash_of(rest), expected);
  }
}

TEST_F(OwnLoops, ACheckpointAtTheEndOfAnEpochGoesOnWithTheNextOne) {
  RunTutti saving(tutorial(automatic({}, /*every=*/13), {}));
  const std::string expected = hash_of(saving);
  fs::remove_all(folder() + "/step-000000000039");
  RunTutti rest(tutorial(automatic({}, /*every=*/100), {}));
  EXPECT_EQ(hash_of(rest), expected);
  EXPECT_THAT(rest.err(), HasSubstr("step-000000000026"));
}

TEST_F(OwnLoops, AnEpochLoopThatForgotToAskIsRefused) {
  RunTutti run(tutorial(automatic({}), {"--forget"}));
  EXPECT_EQ(run.wait(kPatience), 64);
  EXPECT_THAT(run.err(), HasSubstr("call DataParallel::resume() before the loop over epochs begins"));
}

TEST_F(OwnLoops, TwoModelsAreSavedAtTheSameMoment) {
  RunTutti whole(tutorial({}, {"--gan"}));
  const std::string expected = hash_of(whole);
  RunTutti saving(tutorial(automatic({}, /*every=*/10), {"--gan"}));
  EXPECT_EQ(hash_of(saving), expected);
  ASSERT_THAT(names(), ElementsAre("step-000000000010", "step-000000000020"));
  for (const char* gone : {"", "/step-000000000020"}) {
    if (*gone != '\0') fs::remove_all(folder() + gone);
    RunTutti rest(tutorial(automatic({}, /*every=*/100), {"--gan"}));
    EXPECT_EQ(hash_of(rest), expected);
    EXPECT_THAT(rest.err(), HasSubstr("goes on from"));
  }
}

}  // namespace
}  // namespace tutti::testing
