// SPDX-License-Identifier: Apache-2.0
// The trace of whole runs: what of each process is in it, whoever makes it.
#include <gmock/gmock.h>

#include <filesystem>

#include "common/trace/part.h"
#include "tests/common/trace/trace_document.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::Each;
using ::testing::Field;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr std::size_t kStepsOfARun = 20;

/// A run of two workers that is traced, and has ended well.
class TracedRun {
 public:
  explicit TracedRun(const Strings& configuration)
      : path_(place_.folder() + "/run.json"), run_(managed(2, configuration + Strings{"trace=" + path_})) {
    EXPECT_EQ(run_.wait(kPatience), 0) << run_.err();
    EXPECT_FALSE(std::filesystem::exists(parts_folder(path_)));
  }
  TraceDocument trace() const { return TraceDocument::of(path_); }

 private:
  RunTutti place_ = scratch();
  const std::string path_;
  RunTutti run_;
};

void expect_whole_steps(const TraceDocument& trace, const std::string& rank) {
  for (const char* category : {"step", "forward", "backward", "wait", "optimizer"}) {
    EXPECT_THAT(trace.slices(rank, category), SizeIs(kStepsOfARun)) << rank << ": " << category;
  }
  EXPECT_THAT(trace.slices(rank, "data"), SizeIs(kStepsOfARun - 1)) << rank;
  EXPECT_THAT(trace.slices(rank, "step"), Each(Field(&ShownSlice::dur, Gt(0)))) << rank;
}

/// Each push goes through a sum to the pull of the same rank.
void expect_whole_flows(const TraceDocument& trace) {
  std::size_t pushes = 0;
  for (const char* rank : {"rank 0", "rank 1"}) pushes += trace.slices(rank, "push").size();
  EXPECT_GE(pushes, 2 * kStepsOfARun);
  EXPECT_THAT(trace.flows(), SizeIs(pushes));
  for (const auto& [id, flow] : trace.flows()) {
    ASSERT_THAT(flow.begins, SizeIs(1)) << id;
    ASSERT_THAT(flow.steps, SizeIs(1)) << id;
    EXPECT_EQ(flow.ends, flow.begins);
    EXPECT_THAT(flow.begins.front(), StartsWith("rank "));
    EXPECT_THAT(flow.steps.front(), StartsWith("shard "));
  }
}

void expect_all_of_a_server_run(const TraceDocument& trace) {
  for (const char* rank : {"rank 0", "rank 1"}) {
    expect_whole_steps(trace, rank);
    EXPECT_THAT(trace.categories(rank), IsSupersetOf({"bucket", "push", "pull", "request"})) << rank;
  }
  for (const char* shard : {"shard 0", "shard 1"}) {
    EXPECT_THAT(trace.categories(shard), IsSupersetOf({"sum", "request"})) << shard;
  }
  expect_whole_flows(trace);
  expect_nested(trace);
}

TEST(Trace, ShowsEachKindOfSliceOfEveryRankAndShardAndHowTheyAreConnected) {
  const RunTutti place = scratch();
  const TraceDocument trace = TracedRun({"exchange=ps", "shards=2", "transport=tcp", "chunk_bytes=4096",
                                         "checkpoint_dir=" + place.folder() + "/checkpoints", "checkpoint_every=5"})
                                  .trace();
  expect_all_of_a_server_run(trace);
  EXPECT_THAT(trace.categories("rank 0"), IsSupersetOf({"stall", "checkpoint"}));
  for (const ShownSlice& push : trace.slices("rank 0", "push")) EXPECT_GT(push.argument("bytes"), 0);
  EXPECT_THAT(trace.processes(), SizeIs(5)) << "agent 0 is the fifth";
  EXPECT_THAT(trace.moments("agent 0", "member_joined"), SizeIs(4));
}

TEST(Trace, ShowsSumsInSharedMemoryAllTheSame) {
  expect_all_of_a_server_run(TracedRun({"exchange=ps", "shards=2"}).trace());
}

TEST(Trace, ShowsTheBucketsOfAnExchangeWithoutServers) {
  const TraceDocument trace = TracedRun({"exchange=shm"}).trace();
  for (const char* rank : {"rank 0", "rank 1"}) {
    expect_whole_steps(trace, rank);
    EXPECT_GE(trace.slices(rank, "bucket").size(), kStepsOfARun) << rank;
  }
  expect_nested(trace);
}

TEST(Trace, SaysHowWellTheClocksOfHostsAreKnown) {
  const TraceDocument trace = TracedRun({"exchange=shm"}).trace();
  const boost::json::object& clocks = trace.about().at("clocks").as_object();
  ASSERT_THAT(clocks, SizeIs(1));
  const boost::json::object& own = clocks.begin()->value().as_object();
  EXPECT_EQ(own.at("by").as_string(), "round trips");
  EXPECT_EQ(own.at("offset_ns").as_int64(), 0) << "the coordinator is on this host";
  EXPECT_GT(own.at("uncertainty_ns").as_int64(), 0);
}

TEST(Trace, IsMadeByRankZeroOfRanksWithoutAgents) {
  const RunTutti place = scratch();
  const std::string path = place.folder() + "/run.json";
  RunTutti run(embedded(2, {{"TUTTI_EXCHANGE", "shm"}, {"TUTTI_TRACE", path}}));
  ASSERT_EQ(run.wait(kPatience), 0) << run.err();
  const TraceDocument trace = TraceDocument::of(path);
  for (const char* rank : {"rank 0", "rank 1"}) expect_whole_steps(trace, rank);
  EXPECT_FALSE(std::filesystem::exists(parts_folder(path)));
}

TEST(Trace, IsMadeByAProcessAlone) {
  const RunTutti place = scratch();
  const std::string path = place.folder() + "/run.json";
  Environment environment = one_thread();
  environment["TUTTI_TRACE"] = path;
  RunTutti alone({.arguments = {}, .environment = environment, .program = exacting()});
  ASSERT_EQ(alone.wait(kPatience), 0) << alone.err();
  const TraceDocument trace = TraceDocument::of(path);
  EXPECT_THAT(trace.slices("rank 0", "step"), SizeIs(kStepsOfARun));
  EXPECT_FALSE(std::filesystem::exists(parts_folder(path)));
}

TEST(Trace, ThatCannotBeWrittenEndsTheRunAtItsStart) {
  RunTutti run(managed(2, {"exchange=shm", "trace=/proc/nowhere/run.json"}));
  EXPECT_EQ(run.wait(kPatience), 74) << run.err();
  EXPECT_THAT(run.err(), HasSubstr("/proc/nowhere/run.json"));
  Environment environment = one_thread();
  environment["TUTTI_TRACE"] = "/proc/nowhere/run.json";
  RunTutti alone({.arguments = {}, .environment = environment, .program = exacting()});
  EXPECT_EQ(alone.wait(kPatience), 74) << alone.err();
  EXPECT_THAT(alone.err(), HasSubstr("/proc/nowhere/run.json"));
}

}  // namespace
}  // namespace tutti::testing
