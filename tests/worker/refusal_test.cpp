// SPDX-License-Identifier: Apache-2.0
// Ranks that do not fit together are refused at the start, on every rank, with the first difference.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::HasSubstr;

struct Difference {
  const char* name;
  Strings arguments;
  std::string message;  ///< a part of it
};

class Refusal : public ::testing::TestWithParam<Difference> {};

TEST_P(Refusal, NamesTheFirstDifferenceOnEveryRankAndEndsWith78) {
  for (const int odd : {0, 1, 2}) {
    RunTutti run(managed(3, {"exchange=gloo", "timeout_s=20"},
                         Strings{"--variant-rank", std::to_string(odd)} + GetParam().arguments));
    EXPECT_EQ(run.wait(kPatience), 78) << run.err();
    EXPECT_THAT(run.err(), HasSubstr(GetParam().message)) << "rank " << odd;
    for (const char* rank : {"rank-0.log", "rank-1.log", "rank-2.log"}) {
      EXPECT_THAT(run.log(rank), HasSubstr(GetParam().message)) << rank << " of odd rank " << odd;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tables, Refusal,
    ::testing::Values(Difference{"missing", {"--variant", "missing"}, "sometimes"},
                      Difference{"extra", {"--variant", "extra"}, "surplus"},
                      Difference{"renamed", {"--variant", "renamed"}, "initial.weight"},
                      Difference{"reordered", {"--variant", "reordered"}, "the same names in another order"},
                      Difference{"dtype", {"--variant", "dtype"}, "wide.weight"},
                      Difference{"shape", {"--variant", "shape"}, "[14, 139]"},
                      Difference{"threads", {"--other-threads"}, "threads is "}),
    [](const auto& info) { return info.param.name; });

TEST(Refusal, OfAStepThatExchangedNoGradientIsASentenceNotSilence) {
  RunTutti run(managed(2, {"exchange=gloo"}, {"--copy"}));
  EXPECT_EQ(run.wait(kPatience), 64) << run.err();
  EXPECT_THAT(run.err(), HasSubstr("step 0 exchanged no gradient"));
}

TEST(Refusal, OfAParameterThatIsUnfrozenAfterWrappingNamesIt) {
  RunTutti run(managed(2, {"exchange=gloo"}, {"--unfreeze"}));
  EXPECT_EQ(run.wait(kPatience), 64) << run.err();
  EXPECT_THAT(run.err(), HasSubstr("\"never\" was frozen when the model was wrapped"));
}

TEST(Refusal, OfARankWithAnotherSecretEndsItWith77) {
  RunTutti place = scratch();
  const auto secret_file = [&](const std::string& name) {
    const std::string path = place.folder() + "/" + name;
    std::ofstream(path) << "a secret of this name: " << name;
    ::chmod(path.c_str(), 0600);
    return "TUTTI_SECRET_FILE=" + path;
  };
  RunTutti run({.arguments = {"mpirun", "--oversubscribe", "-np", "1", "env", secret_file("ours"), exacting(), ":",
                              "-np", "1", "env", secret_file("theirs"), exacting()},
                .environment = one_thread(),
                .program = "/usr/bin/env"});
  EXPECT_EQ(run.wait(kPatience), 77) << run.err();
  EXPECT_THAT(run.out() + run.err(), ::testing::Not(HasSubstr("a secret of this name")));
}

TEST(Refusal, OfAnExchangeThatCannotWorkHereIsAUsageError) {
  RunTutti run({.arguments = {}, .environment = {{"TUTTI_EXCHANGE", "ps"}}, .program = exacting()});
  EXPECT_EQ(run.wait(kPatience), 64);
  EXPECT_THAT(run.err(), HasSubstr("a process alone has nobody to exchange with"));
  RunTutti embedded_run(embedded(1, {{"TUTTI_EXCHANGE", "shm+ps"}}));
  EXPECT_EQ(embedded_run.wait(kPatience), 64);
  EXPECT_THAT(embedded_run.err(), HasSubstr("exchange = \"shm+ps\": the parameter server's shards are started by"));
}

}  // namespace
}  // namespace tutti::testing
