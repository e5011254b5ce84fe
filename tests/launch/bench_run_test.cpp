// SPDX-License-Identifier: Apache-2.0
// `tutti bench` as a user starts it: every line is what was promised. How fast anything is, no test says.
#include <boost/json.hpp>
#include <sstream>

#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

std::vector<boost::json::object> lines_of(const Strings& arguments) {
  RunTutti run({.arguments = Strings{"bench"} + arguments + Strings{"--json"}, .environment = one_thread()});
  const auto code = run.wait(kPatience);
  EXPECT_EQ(code, 0) << run.out() << run.err();
  std::vector<boost::json::object> lines;
  std::istringstream out(run.out());
  for (std::string line; std::getline(out, line);) {
    boost::json::error_code error;
    const auto value = boost::json::parse(line, error);
    EXPECT_TRUE(!error && value.is_object()) << line;
    if (!error && value.is_object()) lines.push_back(value.as_object());
  }
  return lines;
}

double number(const boost::json::object& line, const char* key) {
  return line.at(key).to_number<double>();
}

void expect_measured(const boost::json::object& line, const std::string& exchange, int ranks, double bytes) {
  EXPECT_EQ(line.at("exchange").as_string(), exchange);
  EXPECT_EQ(number(line, "ranks"), ranks);
  EXPECT_EQ(number(line, "bytes"), bytes);
  EXPECT_GT(number(line, "p50_us"), 0);
  EXPECT_GE(number(line, "p99_us"), number(line, "p50_us"));
  EXPECT_NEAR(number(line, "bytes_per_s") / (bytes / number(line, "p50_us") * 1e6), 1, 1e-3);  // both are rounded
}

void expect_all_reduce(const std::string& exchange, const std::string& memory = "anywhere") {
  const auto lines = lines_of({"allreduce", "--ranks", "2", "--exchange", exchange, "--bytes", "4096,1048576",
                               "--rounds", "5", "--memory", memory});
  ASSERT_EQ(lines.size(), 2u) << exchange;
  expect_measured(lines[0], exchange, 2, 4096);
  expect_measured(lines[1], exchange, 2, 1048576);
  EXPECT_TRUE(lines[0].at("exposed_us").is_null());
  EXPECT_EQ(lines[0].at("memory").as_string(), memory);
}

TEST(Bench, AllReducesOverSharedMemoryInItsOwnMemoryAndInAnyOther) {
  expect_all_reduce("shm", "exchange");
  expect_all_reduce("shm", "anywhere");
}
TEST(Bench, AllReducesOverTheParameterServer) {
  expect_all_reduce("ps");
}
TEST(Bench, AllReducesOverGloo) {
  expect_all_reduce("gloo");
}
#if TUTTI_WITH_MPI
TEST(Bench, AllReducesOverMpi) {
  expect_all_reduce("mpi");
}
#endif

TEST(Bench, PushesAndPullsBesideTheLimitsOfTheMachine) {
  const auto lines = lines_of(
      {"pushpull", "--ranks", "2", "--shards", "2", "--bytes", "1000000", "--rounds", "5", "--vs", "memcpy,tcp"});
  ASSERT_EQ(lines.size(), 3u);
  expect_measured(lines[0], "ps", 2, 1e6);
  EXPECT_EQ(number(lines[0], "shards"), 2);
  EXPECT_EQ(lines[1].at("bench").as_string(), "memcpy");
  expect_measured(lines[1], "none", 2, 1e6);
  EXPECT_EQ(lines[2].at("bench").as_string(), "tcp");
  expect_measured(lines[2], "none", 1, 1e6);
}

TEST(Bench, TrainsLenet) {
  const auto lines = lines_of({"step", "--model", "lenet", "--ranks", "2", "--exchange", "ps", "--rounds", "2"});
  ASSERT_EQ(lines.size(), 1u);
  expect_measured(lines[0], "ps", 2, 4 * 1199882.0);
  EXPECT_EQ(lines[0].at("model").as_string(), "lenet");
  EXPECT_NEAR(number(lines[0], "exposed_us"), number(lines[0], "p50_us") - number(lines[0], "alone_us"), 0.01);
}

TEST(Bench, GuardsStepAsTheBareLoopDoesToTheBit) {
  const auto lines = lines_of({"guards", "--exchange", "ps", "--model", "lenet", "--ranks", "2", "--rounds", "5",
                               "replica_check_every=4", "checkpoint_every=6"});
  ASSERT_EQ(lines.size(), 1u);
  expect_measured(lines[0], "ps", 2, 4 * 1199882.0);
  EXPECT_EQ(number(lines[0], "rounds"), 5);
  EXPECT_GT(number(lines[0], "bare_us"), 0);
  EXPECT_GT(number(lines[0], "mean_cost"), -1);
}

TEST(Bench, GuardsEndWithTheCodeOfARunThatFails) {
  RunTutti run({.arguments = {"bench", "guards", "--exchange", "shm", "--model", "lenet", "no_such_setting=1"},
                .environment = one_thread()});
  EXPECT_EQ(run.wait(kPatience), 64) << run.out();
  EXPECT_NE(run.err().find("no_such_setting"), std::string::npos) << run.err();
}

TEST(Bench, OneRankWithoutShardsHasNothingToExchange) {
  RunTutti run({.arguments = {"bench", "allreduce", "--ranks", "1"}, .environment = one_thread()});
  EXPECT_EQ(run.wait(kPatience), 64) << run.out();
  EXPECT_NE(run.err().find("--ranks 2"), std::string::npos) << run.err();
}

TEST(Bench, AGradientThatIsNotTheAverageEndsTheRun) {
  // Sums of three numbers in another order than the reference's: Gloo's are not held to the bit unless asked for.
  RunTutti run({.arguments = {"bench", "step", "--model", "lenet", "--ranks", "3", "--exchange", "gloo", "--rounds",
                              "2", "--tolerance", "0"},
                .environment = one_thread()});
  EXPECT_EQ(run.wait(kPatience), 70) << run.out();
  EXPECT_NE(run.err().find("of the gradient of"), std::string::npos) << run.err();
}

}  // namespace
}  // namespace tutti::testing
