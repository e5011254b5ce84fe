// SPDX-License-Identifier: Apache-2.0
// The trace of a run whose processes are killed is whole all the same.
#include <gmock/gmock.h>

#include <csignal>
#include <filesystem>

#include "common/trace/part.h"
#include "tests/chaos/chaos_run.h"
#include "tests/common/trace/trace_document.h"
#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr std::int64_t kStruckAt = 60;

class KilledTrace : public ::testing::Test {
 protected:
  ChaosOptions traced(ChaosOptions options) const {
    options.configuration.push_back("trace=" + path);
    return options;
  }
  /// Steps of the rank from the first on, without a gap. The last may be unfinished.
  static void expect_steps_until(const TraceDocument& trace, const std::string& rank, std::int64_t last) {
    std::set<std::int64_t> steps;
    for (const ShownSlice& slice : trace.slices(rank, "step")) steps.insert(slice.argument("step"));
    for (std::int64_t step = 0; step <= last; ++step) EXPECT_TRUE(steps.contains(step)) << rank << ", step " << step;
  }

  TemporaryFolder folder;
  const std::string path = folder.file("run.json");
};

TEST_F(KilledTrace, OfAWorkerShowsItAndItsSuccessor) {
  ChaosRun run(traced({.exchange = "ps", .workers = 2, .shards = 1, .faults = {"1:40:backward:9"}}));
  run.expect_same_bits();
  const TraceDocument trace = TraceDocument::of(path);
  expect_nested(trace);
  expect_steps_until(trace, "rank 0", 199);
  std::vector<std::string> of_rank_1;
  for (const std::string& process : trace.processes()) {
    if (process.starts_with("rank 1 ")) of_rank_1.push_back(process);
  }
  ASSERT_THAT(of_rank_1, SizeIs(2));
  EXPECT_THAT(of_rank_1.back(), HasSubstr("(generation 2)"));
  const auto steps = trace.slices(of_rank_1.back(), "step");
  ASSERT_FALSE(steps.empty());
  EXPECT_EQ(steps.back().argument("step"), 199);
  EXPECT_THAT(trace.slices("rank 0", "recovery"), SizeIs(1));
  EXPECT_THAT(trace.moments("rank 0", "generation_changed"), SizeIs(1));
  EXPECT_THAT(trace.moments("agent 0", "member_lost"), Contains(::testing::Field(&ShownSlice::name, "rank 1 lost")));
  EXPECT_FALSE(std::filesystem::exists(parts_folder(path)));
}

// Two hosts, which this machine plays.
TEST_F(KilledTrace, HasTheClocksAndAgentsOfAllHosts) {
  ChaosRun run(traced({.exchange = "shm+ps", .shards = 2, .faults = {"3:40:backward:9"}, .hosts = 2}));
  run.expect_same_bits();
  const TraceDocument trace = TraceDocument::of(path);
  expect_nested(trace);
  EXPECT_THAT(trace.moments("agent 1 on host1", "member_lost"),
              Contains(::testing::Field(&ShownSlice::name, "rank 3 lost")));
  for (const char* host : {"host0", "host1"}) {
    EXPECT_EQ(trace.about().at("clocks").as_object().at(host).as_object().at("by").as_string(), "round trips") << host;
  }
  for (const char* rank : {"rank 0 on host0", "rank 2 on host1"}) {
    EXPECT_FALSE(trace.slices(rank, "push").empty()) << rank << " carries the sums of its host";
    expect_steps_until(trace, rank, 199);
  }
  EXPECT_FALSE(std::filesystem::exists(parts_folder(path)));
}

TEST_F(KilledTrace, OfTheAgentThatWouldHaveMadeItIsMadeByItsGuard) {
  ChaosRun run(traced({.exchange = "ps", .workers = 2, .shards = 1, .hold_ms = 25}));
  ASSERT_TRUE(run.reaches(kStruckAt)) << run.err();
  EXPECT_THAT(TraceDocument::of(path).processes(), SizeIs(0)) << "nobody has made it so far";
  run.run().signal(SIGKILL);
  ASSERT_TRUE(eventually(kPatience, [&] { return !std::filesystem::exists(parts_folder(path)); }));
  const TraceDocument trace = TraceDocument::of(path);
  expect_nested(trace);
  for (const char* rank : {"rank 0", "rank 1"}) expect_steps_until(trace, rank, kStruckAt - 1);
  EXPECT_FALSE(trace.slices("shard 0", "sum").empty());
  EXPECT_EQ(run.run().leftovers(kGone), "");
}

TEST_F(KilledTrace, OfEveryProcessIsMadeByHand) {
  ChaosRun run(traced({.hold_ms = 25}));
  ASSERT_TRUE(run.reaches(kStruckAt)) << run.err();
  for (const MarkedProcess& process : run.run().processes()) ::kill(process.pid, SIGSTOP);
  for (const MarkedProcess& process : run.run().processes()) ::kill(process.pid, SIGKILL);
  EXPECT_TRUE(run.finish(kPatience).has_value());
  EXPECT_THAT(TraceDocument::of(path).processes(), SizeIs(0));
  RunTutti by_hand({.arguments = {"trace", parts_folder(path) + "/"}});
  ASSERT_EQ(by_hand.wait(kPatience), 0) << by_hand.err();
  EXPECT_THAT(by_hand.out(), HasSubstr(path));
  for (const char* rank : {"rank 0", "rank 3"}) expect_steps_until(TraceDocument::of(path), rank, kStruckAt - 1);
}

}  // namespace
}  // namespace tutti::testing
