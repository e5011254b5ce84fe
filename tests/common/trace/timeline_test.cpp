// SPDX-License-Identifier: Apache-2.0
#include "common/trace/timeline.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "common/net/frame.h"
#include "tests/common/trace/trace_events.h"

namespace tutti::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = EventKind;

/// "training: forward [10, 30]", in the order of their begins, outer ones first.
std::vector<std::string> shown(const TraceDocument& trace, const std::string& thread = "") {
  std::vector<ShownSlice> slices = trace.slices();
  std::ranges::stable_sort(
      slices, [](const ShownSlice& a, const ShownSlice& b) { return a.ts < b.ts || (a.ts == b.ts && a.dur > b.dur); });
  std::vector<std::string> lines;
  for (const ShownSlice& slice : slices) {
    if (!thread.empty() && slice.thread != thread) continue;
    std::string line = fmt::format("{}: {} [{}, {}]", slice.thread, slice.name, slice.ts, slice.end());
    for (const char* mark : {"cut", "unfinished", "failed"}) {
      if (slice.arguments.contains(mark)) line += fmt::format(" {}", mark);
    }
    lines.push_back(line);
  }
  expect_nested(trace);
  return lines;
}

TraceDocument of_rank(std::vector<Event> events) {
  return trace_of(all_of_them(traced_rank(std::move(events))));
}

TEST(Timeline, DividesAStepIntoForwardBackwardWaitAndOptimizer) {
  const auto trace =
      of_rank({traced(10, Kind::kIterationBegin, 7), traced(30, Kind::kBackwardFirstHook, 7),
               traced(60, Kind::kBackwardLastHook, 7), traced(61, Kind::kWaitBegin, 7), traced(70, Kind::kWaitEnd, 7),
               traced(72, Kind::kExchangeDone, 7), traced(80, Kind::kIterationEnd, 7),
               traced(95, Kind::kIterationBegin, 8), traced(99, Kind::kIterationEnd, 8)});
  EXPECT_THAT(shown(trace),
              ElementsAre("training: step 7 [10, 80]", "training: forward [10, 30]", "training: backward [30, 60]",
                          "training: wait [61, 70]", "training: optimizer [72, 80]", "training: data [80, 95]",
                          "training: step 8 [95, 99]"));
  EXPECT_EQ(trace.slices("rank 0 on node1", "step").front().argument("step"), 7);
}

TEST(Timeline, TakesWhatLiesBetweenTwoBackwardsForForward) {
  const auto trace =
      of_rank({traced(0, Kind::kIterationBegin), traced(1, Kind::kBackwardFirstHook),
               traced(2, Kind::kBackwardLastHook), traced(3, Kind::kExchangeDone), traced(5, Kind::kBackwardFirstHook),
               traced(6, Kind::kBackwardLastHook), traced(7, Kind::kExchangeDone), traced(9, Kind::kIterationEnd)});
  EXPECT_THAT(shown(trace),
              ElementsAre("training: step 0 [0, 9]", "training: forward [0, 1]", "training: backward [1, 2]",
                          "training: forward [3, 5]", "training: backward [5, 6]", "training: optimizer [7, 9]"));
}

TEST(Timeline, ShowsTheStallAndTheWritingOfACheckpoint) {
  const auto trace = of_rank({traced(0, Kind::kIterationBegin, 4), traced(10, Kind::kIterationEnd, 4),
                              traced(11, Kind::kCheckpointBegin, 5), traced(15, Kind::kCheckpointTaken, 5),
                              traced(20, Kind::kIterationBegin, 5), traced(40, Kind::kCheckpointEnd, 5),
                              traced(50, Kind::kIterationEnd, 5)});
  EXPECT_THAT(shown(trace), ElementsAre("training: step 4 [0, 10]", "training: checkpoint stall [11, 15]",
                                        "checkpoint: checkpoint write [15, 40]", "training: data [15, 20]",
                                        "training: step 5 [20, 50]"));
}

TEST(Timeline, TellsACheckpointThatWasLeftOutFromOneThatFailed) {
  const auto trace = of_rank({traced(0, Kind::kCheckpointBegin, 1), traced(1, Kind::kCheckpointTaken, 1),
                              traced(2, Kind::kCheckpointBegin, 2), traced(3, Kind::kCheckpointFailed, 2),
                              traced(4, Kind::kCheckpointTaken, 2), traced(9, Kind::kCheckpointFailed, 1)});
  EXPECT_THAT(shown(trace, "checkpoint"), ElementsAre("checkpoint: checkpoint write [1, 9] failed"));
  ASSERT_THAT(trace.moments("rank 0", "checkpoint"), SizeIs(1));
  EXPECT_EQ(trace.moments("rank 0", "checkpoint").front().name, "checkpoint left out");
}

TEST(Timeline, EndsAWaitThatWasCutWhereTheNextGenerationBegins) {
  Event regroup = traced(30, Kind::kGenerationChanged);
  regroup.generation = 2;
  const auto trace = of_rank({traced(0, Kind::kIterationBegin, 3), traced(5, Kind::kBackwardFirstHook, 3),
                              traced(9, Kind::kBackwardLastHook, 3), traced(10, Kind::kWaitBegin, 3), regroup,
                              traced(45, Kind::kMemberJoined, 0, 0, 1), traced(46, Kind::kWaitBegin, 3),
                              traced(50, Kind::kWaitEnd, 3), traced(60, Kind::kIterationEnd, 3)});
  EXPECT_THAT(shown(trace),
              ElementsAre("training: step 3 [0, 60]", "training: forward [0, 5]", "training: backward [5, 9]",
                          "training: wait [10, 30] cut", "training: recovery [30, 45]", "training: wait [46, 50]",
                          "training: optimizer [50, 60]"));
  EXPECT_EQ(trace.slices("rank 0", "step").front().argument("generation"), 2);
  ASSERT_THAT(trace.moments("rank 0", "generation_changed"), SizeIs(1));
  EXPECT_EQ(trace.moments("rank 0", "member_joined").front().name, "rank 1 joined");
}

TEST(Timeline, EndsAWaitAtTheNextStepWhereTheProgramWentOn) {
  const auto trace = of_rank({traced(0, Kind::kIterationBegin, 1), traced(4, Kind::kWaitBegin, 1),
                              traced(8, Kind::kIterationBegin, 2), traced(9, Kind::kIterationEnd, 2)});
  EXPECT_THAT(shown(trace),
              ElementsAre("training: step 1 [0, 8]", "training: wait [4, 8] cut", "training: step 2 [8, 9]"));
}

TEST(Timeline, KeepsWhatAKilledProcessWasIn) {
  const auto trace = of_rank({traced(0, Kind::kIterationBegin, 1), traced(2, Kind::kBackwardFirstHook, 1),
                              traced(3, Kind::kBucketStarted, 1, 0), traced(4, Kind::kPushStarted, 1, 9),
                              traced(5, Kind::kResultArriving, 1, 8), traced(6, Kind::kBucketReady, 1, 1)});
  EXPECT_THAT(shown(trace), ElementsAre("training: step 1 [0, 6] unfinished", "training: forward [0, 2]",
                                        "training: backward [2, 6] unfinished", "exchange: bucket 0 [3, 6] unfinished",
                                        "push: push 9 [4, 6] unfinished", "pull: pull 8 [5, 6] unfinished"));
  EXPECT_THAT(trace.flows(), IsEmpty());
}

TEST(Timeline, PutsQuestionsIntoWhatTheTrainingWasAt) {
  const auto type = static_cast<std::uint32_t>(FrameType::kContribute);
  const auto trace = of_rank({traced(0, Kind::kIterationBegin), traced(1, Kind::kRequestBegin, 0, type),
                              traced(4, Kind::kRequestEnd, 0, type), traced(5, Kind::kRequestBegin, 0, type),
                              traced(9, Kind::kIterationEnd)});
  EXPECT_THAT(shown(trace),
              ElementsAre("training: step 0 [0, 9]", "training: gather [1, 4]", "training: gather [5, 9] cut"));
}

TEST(Timeline, GivesBucketsThatOverlapLanesOfTheirOwn) {
  Event done = traced(30, Kind::kBucketDone, 5, 0);
  done.bytes = 4096;
  const auto trace = of_rank({traced(10, Kind::kBucketStarted, 5, 0), traced(20, Kind::kBucketStarted, 5, 1), done,
                              traced(31, Kind::kBucketStarted, 5, 2), traced(40, Kind::kBucketDone, 5, 1),
                              traced(50, Kind::kExchangeDone, 5)});
  EXPECT_THAT(shown(trace), ElementsAre("exchange: bucket 0 [10, 30]", "exchange 2: bucket 1 [20, 40]",
                                        "exchange: bucket 2 [31, 50]"));
  EXPECT_EQ(trace.slices("rank 0", "bucket").front().argument("bytes"), 4096);
}

TEST(Timeline, TellsOnceThatABucketIsReady) {
  const auto trace = of_rank({traced(9, Kind::kBucketReady, 5, 2), traced(10, Kind::kBucketStarted, 5, 2),
                              traced(11, Kind::kBucketReady, 5, 2), traced(30, Kind::kBucketDone, 5, 2),
                              traced(40, Kind::kBucketReady, 6, 2)});
  const auto ready = trace.moments("rank 0", "ready");
  ASSERT_THAT(ready, SizeIs(2));
  EXPECT_EQ(ready.front().ts, 9);
  EXPECT_EQ(ready.back().argument("step"), 6);
}

TEST(Timeline, SumsFromTheLastArrivalAndNamesTheRankItWaitedFor) {
  const auto trace = trace_of(
      all_of_them(traced_process({.role = Role::kServer, .rank = 2, .host = "node2"},
                                 {traced(0, Kind::kPushArrived, 5, 3, 1), traced(4, Kind::kPushArrived, 5, 4, 0),
                                  traced(20, Kind::kPushArrived, 5, 3, 0), traced(23, Kind::kChunkSummed, 5, 3, 2)})));
  EXPECT_THAT(shown(trace), ElementsAre("sums: sum 3 [20, 23]"));
  const ShownSlice sum = trace.slices("shard 2 on node2", "sum").front();
  EXPECT_EQ(sum.argument("last_rank"), 0);
  EXPECT_EQ(sum.argument("waited_us"), 20);
}

std::vector<Event> chunk_of(std::int32_t rank, std::int64_t at, std::uint16_t exchange = 0) {
  std::vector<Event> events = {traced(at, Kind::kPushStarted, 5, 3, rank), traced(at + 2, Kind::kChunkSent, 5, 3, rank),
                               traced(at + 50, Kind::kResultArriving, 5, 3, rank),
                               traced(at + 55, Kind::kChunkReceived, 5, 3, rank)};
  for (Event& event : events) event.exchange = exchange;
  return events;
}

TEST(Timeline, ConnectsEachPushWithItsSumAndTheSumWithEachPull) {
  const auto trace = trace_of(
      all_of_them(traced_process({.role = Role::kWorker, .rank = 0, .host = "node1"}, chunk_of(0, 100)),
                  traced_process({.role = Role::kWorker, .rank = 1, .host = "node2"}, chunk_of(1, 110)),
                  traced_process({.role = Role::kServer, .rank = 0, .host = "node1"},
                                 {traced(120, Kind::kPushArrived, 5, 3, 1), traced(130, Kind::kPushArrived, 5, 3, 0),
                                  traced(135, Kind::kChunkSummed, 5, 3, 0)})));
  ASSERT_THAT(trace.flows(), SizeIs(2));
  std::set<std::string> ways;
  for (const auto& [id, flow] : trace.flows()) {
    ASSERT_THAT(flow.begins, SizeIs(1));
    EXPECT_EQ(flow.ends, flow.begins);
    EXPECT_THAT(flow.steps, ElementsAre("shard 0 on node1"));
    ways.insert(flow.begins.front());
  }
  EXPECT_THAT(ways, ElementsAre("rank 0 on node1", "rank 1 on node2"));
}

// Two exchanges of one step push the same chunks.
TEST(Timeline, TellsTheExchangesOfAStepApart) {
  std::vector<Event> events = chunk_of(0, 100);
  for (const Event& event : chunk_of(0, 200, 1)) events.push_back(event);
  EXPECT_THAT(of_rank(std::move(events)).flows(), SizeIs(2));
}

TEST(Timeline, ShowsAChunkInSharedMemoryThoughNoByteOfItTravels) {
  const auto trace = of_rank({traced(10, Kind::kPushStarted, 5, 3), traced(12, Kind::kChunkSent, 5, 3),
                              traced(40, Kind::kChunkReceived, 5, 3)});
  EXPECT_THAT(shown(trace), ElementsAre("push: push 3 [10, 12]", "pull: pull 3 [40, 40]"));
  ASSERT_THAT(trace.flows(), SizeIs(1));
  EXPECT_THAT(trace.flows().begin()->second.ends, SizeIs(1));
}

TEST(Timeline, TellsWhomAnAgentLost) {
  Event lost = traced(10, Kind::kMemberLost, 37, 0, 1);
  lost.bytes = 9;
  const auto trace = trace_of(all_of_them(traced_process({.role = Role::kAgent, .rank = 0, .host = "node1"}, {lost})));
  const auto moments = trace.moments("agent 0 on node1", "member_lost");
  ASSERT_THAT(moments, SizeIs(1));
  EXPECT_EQ(moments.front().name, "rank 1 lost");
  EXPECT_EQ(moments.front().argument("step"), 37);
  EXPECT_EQ(moments.front().argument("wait_status"), 9);
}

}  // namespace
}  // namespace tutti::testing
