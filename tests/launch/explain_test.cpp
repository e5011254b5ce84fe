// SPDX-License-Identifier: Apache-2.0
// What `tutti explain` says of recordings made by hand.
#include "launch/explain.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <sstream>

#include "common/net/frame.h"
#include "launch/agent_recording.h"
#include "launch/first_stop.h"
#include "tests/common/temporary_folder.h"

namespace tutti::launch {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::int64_t kMidnight = 1'767'225'600'000'000'000;  // 2026-01-01 00:00:00 UTC

TimePoint at(double milliseconds) {
  return TimePoint(std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(milliseconds)));
}

Event event(double milliseconds, EventKind kind, std::uint64_t step = 0, std::uint32_t bucket = 0) {
  return {.time = at(milliseconds), .kind = kind, .step = step, .bucket = bucket};
}

Event asks(double milliseconds, EventKind kind, FrameType type) {
  return event(milliseconds, kind, 37, static_cast<std::uint32_t>(type));
}

Event lost(double milliseconds, const MemberId& member, int wait_status) {
  Event event{.time = at(milliseconds), .kind = EventKind::kMemberLost, .rank = member.rank};
  event.object = static_cast<std::uint32_t>(member.role);
  event.bytes = static_cast<std::uint64_t>(wait_status);
  return event;
}

/// A process that started when its host's monotonic clock stood at zero, at midnight.
Recording recording(Role role, std::int32_t rank, const std::string& host, std::vector<Event> events) {
  Recording recording;
  recording.process = {.role = role, .rank = rank, .generation = 1, .pid = 100 + rank, .host = host};
  recording.wall_ns = kMidnight;
  recording.events = std::move(events);
  return recording;
}

/// Rank 1 died at 1.5 s in the middle of step 37; rank 0 waited for it, and so did the shard.
RecordingFolder run_with_a_death() {
  return {{recording(Role::kWorker, 0, "node1",
                     {event(1000, EventKind::kIterationEnd, 36), event(1000, EventKind::kIterationBegin, 37),
                      event(1100, EventKind::kBucketStarted, 37, 0), event(1200, EventKind::kBucketStarted, 37, 1),
                      event(1300, EventKind::kWaitBegin, 37), event(1400.5, EventKind::kBucketDone, 37, 0),
                      event(1501, EventKind::kRunEnded, 37)}),
           recording(Role::kWorker, 1, "node2",
                     {event(1010, EventKind::kIterationEnd, 36), event(1010, EventKind::kIterationBegin, 37),
                      event(1400, EventKind::kBucketReady, 37, 0)}),
           recording(Role::kServer, 0, "node1", {event(1400.25, EventKind::kChunkSummed, 37, 3)}),
           recording(Role::kAgent, 1, "node2", {lost(1500, {Role::kWorker, 1}, SIGKILL)})},
          {}};
}

std::string first_lines(const std::string& text, std::size_t count) {
  std::istringstream lines(text);
  std::string first;
  for (std::string line; count > 0 && std::getline(lines, line); --count) first += line + "\n";
  return first;
}

std::size_t longest_line(const std::string& text) {
  std::size_t longest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) longest = std::max(longest, line.size());
  return longest;
}

TEST(Explain, TellsWhoStoppedFirstWhatTheOthersWaitedForAndTheirLastEvents) {
  EXPECT_EQ(explain(run_with_a_death(), 8),
            "4 recordings of node1, node2; 0 s is 2026-01-01 00:00:01.500 UTC\n"
            "rank 1 on node2 stopped first: killed by signal 9 (Killed); it last recorded bucket_ready 0 at -0.100 s; "
            "done: step 36\n"
            "rank 0 on node1 waited for bucket 1 since -0.200 s; done: step 36, bucket 0 of step 37\n"
            "shard 0 on node1 last recorded chunk_summed 3 at -0.100 s\n"
            "agent 1 on node2 last recorded member_lost rank 1 at +0.000 s\n"
            "\n"
            "         s rank 0                     rank 1                     shard 0                    agent 1\n"
            " -0.400000 bucket_started 0\n"
            " -0.300000 bucket_started 1\n"
            " -0.200000 wait_begin 37\n"
            " -0.100000                            bucket_ready 0\n"
            " -0.099750                                                       chunk_summed 3\n"
            " -0.099500 bucket_done 0\n"
            " +0.000000                                                                                  member_lost "
            "rank 1\n"
            " +0.001000 run_ended\n");
}

TEST(Explain, IsShownInTheDocuments) {
  EXPECT_THAT(testing::content_of("docs/fault_tolerance.md"),
              HasSubstr("\n```\n" + explain(run_with_a_death(), 8) + "```\n"));
}

TEST(Explain, ShowsNoEventsWhereNoneAreAskedFor) {
  EXPECT_EQ(explain(run_with_a_death(), 0), first_lines(explain(run_with_a_death(), 8), 5));
}

TEST(Explain, FitsSixProcessesInto120Columns) {
  RecordingFolder folder;
  for (std::int32_t rank = 0; rank < 6; ++rank) {
    folder.recordings.push_back(recording(
        Role::kWorker, rank, "node1",
        {event(rank, EventKind::kBackwardFirstHook, 1234567), event(rank + 0.5, EventKind::kChunkReceived, 1, 12345)}));
  }
  const std::string text = explain(folder, 40);
  const std::string table = text.substr(text.find("\n\n"));
  EXPECT_LE(longest_line(table), 120u);
  EXPECT_THAT(table, HasSubstr("s rank 0            rank 1            rank 2"));
  EXPECT_THAT(table, AllOf(HasSubstr(" backward~ 1234567\n"), HasSubstr(" chunk_rece~ 12345\n")));
}

TEST(Explain, ShowsMoreThanSixProcessesOneAfterTheOther) {
  RecordingFolder folder;
  for (std::int32_t rank = 0; rank < 7; ++rank) {
    folder.recordings.push_back(
        recording(Role::kWorker, rank, "node1",
                  {event(0, EventKind::kIterationBegin, 1), event(10, EventKind::kIterationBegin, 2),
                   event(20 + rank, EventKind::kIterationBegin, 3)}));
  }
  EXPECT_THAT(explain(folder, 2), HasSubstr("\n\nrank 0 on node1, process 100\n"
                                            " -0.010000 iteration_begin 2\n"
                                            " +0.000000 iteration_begin 3\n"
                                            "\nrank 1 on node1, process 101\n"
                                            " -0.010000 iteration_begin 2\n"
                                            " +0.001000 iteration_begin 3\n"));
}

TEST(Explain, WithoutAnAgentsWordNamesTheRankThatWasInNoWait) {
  const std::vector<Recording> ranks = {
      recording(Role::kWorker, 0, "node1", {event(100, EventKind::kWaitBegin, 37)}),
      recording(Role::kWorker, 1, "node1", {event(300, EventKind::kBackwardFirstHook, 37)}),
      recording(Role::kWorker, 2, "node1", {asks(200, EventKind::kRequestBegin, FrameType::kContribute)}),
      recording(Role::kServer, 0, "node1", {event(50, EventKind::kChunkSummed, 36)})};
  EXPECT_THAT(explain({ranks, {}}, 0),
              HasSubstr("rank 1 on node1 stopped first: it last recorded backward_first_hook 37 at +0.000 s\n"
                        "rank 0 on node1 waited for its exchange since -0.200 s\n"
                        "rank 2 on node1 waited for all ranks since -0.100 s\n"));
}

TEST(Explain, WithoutAnAgentsWordBlamesNoRankThatWasToldOfTheEnd) {
  std::vector<Recording> ranks = {
      recording(Role::kWorker, 0, "node1",
                {event(100, EventKind::kBucketStarted, 37), event(400, EventKind::kRunEnded, 37)}),
      recording(Role::kWorker, 1, "node1", {event(300, EventKind::kIterationBegin, 37)}),
      recording(Role::kWorker, 2, "node1", {event(200, EventKind::kWaitBegin, 37)})};
  EXPECT_THAT(explain({ranks, {}}, 0), HasSubstr("rank 1 on node1 stopped first: it last recorded iteration_begin 37"));
  ranks.erase(ranks.begin() + 1);
  EXPECT_THAT(explain({ranks, {}}, 0), HasSubstr("rank 2 on node1 stopped first: it waited for its exchange"))
      << "it died in a wait";
}

TEST(Explain, WhereAllRanksWaitedNamesTheOneThatIsFurthestBehind) {
  const std::vector<Recording> ranks = {
      recording(Role::kWorker, 0, "node1",
                {event(50, EventKind::kIterationEnd, 36), event(100, EventKind::kWaitBegin, 37)}),
      recording(Role::kWorker, 1, "node1",
                {event(40, EventKind::kIterationEnd, 35), event(90, EventKind::kWaitBegin, 36)})};
  EXPECT_THAT(explain({ranks, {}}, 0),
              HasSubstr("rank 1 on node1 is the furthest behind, and every rank waited: it waited for its exchange "
                        "since +0.000 s; done: step 35\n"));
}

TEST(Explain, BlamesNoRankThatSaidGoodbye) {
  const std::vector<Recording> ranks = {
      recording(
          Role::kWorker, 0, "node1",
          {asks(10, EventKind::kRequestBegin, FrameType::kLeave), asks(20, EventKind::kRequestEnd, FrameType::kLeave)}),
      recording(Role::kWorker, 1, "node1", {event(300, EventKind::kCheckpointBegin, 37)})};
  EXPECT_THAT(explain({ranks, {}}, 0),
              HasSubstr("rank 1 on node1 stopped first: it was saving a checkpoint since +0.000 s\n"));
}

TEST(Explain, BlamesNoProcessThatWasReplaced) {
  RecordingFolder folder = run_with_a_death();
  Recording replacement = recording(Role::kWorker, 1, "node2", {event(2500, EventKind::kWaitBegin, 38)});
  replacement.process.generation = 2;
  replacement.started = at(2000);
  replacement.wall_ns = kMidnight + 2'000'000'000;
  folder.recordings.insert(folder.recordings.begin() + 2, replacement);
  folder.recordings[0].events = {event(2600, EventKind::kIterationBegin, 39)};
  EXPECT_THAT(explain(folder, 1),
              AllOf(HasSubstr("rank 0 on node1 stopped first: it last recorded iteration_begin 39 at +0.000 s\n"),
                    HasSubstr("rank 1 g2 on node2 waited for its exchange since -0.100 s\n")));
}

TEST(Explain, NamesAProcessThatLeftNoRecording) {
  const std::vector<Recording> agent = {
      recording(Role::kAgent, 0, "node1", {lost(1500, {Role::kWorker, 1}, /*exit code*/ 3 << 8)})};
  EXPECT_THAT(explain({agent, {}}, 0), HasSubstr("rank 1 stopped first: exited with code 3; it left no recording\n"));
}

TEST(Explain, AProcessThatRecordedNothingStoppedAtItsStart) {
  const std::vector<Recording> ranks = {recording(Role::kWorker, 0, "node1", {event(100, EventKind::kWaitBegin)}),
                                        recording(Role::kWorker, 1, "node1", {})};
  EXPECT_THAT(explain({ranks, {}}, 0),
              HasSubstr("rank 1 on node1 stopped first: it recorded nothing since its start at +0.000 s\n"));
}

TEST(Explain, AlignsHostsByTheirWallClocksAndAHostByItsMonotonicOne) {
  std::vector<Recording> ranks = {recording(Role::kWorker, 0, "node1", {event(100, EventKind::kWaitBegin)}),
                                  recording(Role::kWorker, 1, "node1", {event(150, EventKind::kWaitBegin)}),
                                  recording(Role::kWorker, 2, "node2", {event(5200, EventKind::kIterationBegin)})};
  ranks[1].started = at(50);
  ranks[1].wall_ns = kMidnight + 3'600'000'000'000;  // between the two starts somebody set the clock
  ranks[2].started = at(5000);
  EXPECT_THAT(explain({ranks, {}}, 0), AllOf(HasSubstr("rank 0 on node1 waited for its exchange since -0.100 s\n"),
                                             HasSubstr("rank 1 on node1 waited for its exchange since -0.050 s\n")));
}

TEST(Explain, TellsOfTornEntries) {
  std::vector<Recording> ranks = {recording(Role::kWorker, 0, "node1", {})};
  ranks[0].torn = 2;
  EXPECT_THAT(explain({ranks, {}}, 0), HasSubstr("rank 0: 2 entries were not whole and are left out\n"));
}

TEST(DescribeWaits, NamesTheRankThatWaitedLongestAndCountsTheOthers) {
  std::vector<Recording> recordings = run_with_a_death().recordings;
  EXPECT_EQ(describe_waits(recordings), "rank 0 waited 0.201 s for bucket 1");
  recordings.push_back(recording(Role::kWorker, 2, "node2", {event(1200, EventKind::kWaitBegin, 37)}));
  EXPECT_EQ(describe_waits(recordings), "rank 2 waited 0.300 s for its exchange, and 1 more rank waited")
      << "one that was told nothing waited until the death";
  recordings.push_back(recording(Role::kWorker, 3, "node2", {asks(1600, EventKind::kRequestBegin, FrameType::kLeave)}));
  EXPECT_EQ(describe_waits(recordings), "rank 2 waited 0.300 s for its exchange, and 2 more ranks waited");
}

TEST(DescribeWaits, LeavesOutWhoWorkedAndWhoDied) {
  std::vector<Recording> recordings = run_with_a_death().recordings;
  recordings[0].events = {event(1000, EventKind::kIterationBegin, 37)};
  recordings[1].events = {event(1000, EventKind::kWaitBegin, 37)};
  EXPECT_EQ(describe_waits(recordings), "");
}

class RecordingFolderTest : public ::testing::Test {
 protected:
  std::string record(Role role, std::int32_t rank, std::uint32_t generation, const std::string& folder = "") {
    const RecordedProcess process{.role = role, .rank = rank, .generation = generation, .pid = 1, .host = "node1"};
    return Recorder::create(folder.empty() ? folder_.path() : folder, process).value()->path();
  }
  const testing::TemporaryFolder folder_;
};

TEST_F(RecordingFolderTest, IsReadInTheOrderOfItsProcesses) {
  record(Role::kAgent, 0, 1);
  record(Role::kWorker, 10000, 1);
  record(Role::kWorker, 2, 10);
  record(Role::kWorker, 2, 9);
  std::vector<std::string> names;
  for (const Recording& recording : read_recordings(folder_.path()).value().recordings) {
    names.push_back(recording_name(recording.process));
  }
  EXPECT_THAT(
      names, ::testing::ElementsAre("rank-0002.g9.rec", "rank-0002.g10.rec", "rank-10000.g1.rec", "agent-0000.g1.rec"));
}

TEST_F(RecordingFolderTest, MayBeTheRunsFolder) {
  record(Role::kWorker, 0, 1, folder_.file("recordings"));
  folder_.write("config.toml", "workers = 1");
  EXPECT_EQ(read_recordings(folder_.path()).value().recordings.size(), 1u);
}

TEST_F(RecordingFolderTest, NamesAndSkipsBadFiles) {
  record(Role::kWorker, 0, 1);
  const std::string bad = folder_.write("rank-0001.g1.rec", "TUTTIREC");
  const auto found = read_recordings(folder_.path());
  ASSERT_TRUE(found) << found.error().text();
  EXPECT_EQ(found->recordings.size(), 1u);
  EXPECT_THAT(explain(*found, 0), StartsWith("skipped: " + bad + " ends after 8 bytes"));
}

TEST_F(RecordingFolderTest, WithoutARecordingIsAFailureThatSaysWhy) {
  EXPECT_THAT(read_recordings(folder_.path()).error().text(), HasSubstr("holds no recording"));
  folder_.write("rank-0001.g1.rec", "something else");
  EXPECT_THAT(read_recordings(folder_.path()).error().text(), HasSubstr("rank-0001.g1.rec is no recording"));
  EXPECT_EQ(read_recordings(folder_.path()).error().code, Errc::kBadData);
  EXPECT_EQ(read_recordings("/nowhere").error().code, Errc::kIo);
}

TEST(AgentRecording, RecordsItsChildrenAndTellsWhatOneWasDoing) {
  const testing::TemporaryFolder folder;
  AgentRecording agent(folder.path(), 0, "node1", Logger::none());
  for (const std::uint32_t generation : {1u, 2u}) {
    const RecordedProcess child{.role = Role::kWorker, .rank = 3, .generation = generation, .pid = 1, .host = "node1"};
    const auto recorder = Recorder::create(folder.path(), child).value();
    recorder->record({.time = SteadyClock().now(), .kind = EventKind::kBucketReady, .bucket = generation});
  }
  agent.started({Role::kWorker, 3});
  EXPECT_THAT(agent.ended({Role::kWorker, 3}, SIGKILL, 37), HasSubstr(" s after bucket_ready 2")) << "the newest one's";
  EXPECT_EQ(agent.ended({Role::kWorker, 4}, SIGKILL, 37), "") << "it left no recording";
  EXPECT_EQ(agent.ended({Role::kWorker, 3}, 0, 37), "") << "it ended well";
  agent.run_ended();
  std::vector<EventKind> kinds;
  const Recording own = read_recording(folder.file("agent-0000.g1.rec")).value();
  for (const Event& event : own.events) kinds.push_back(event.kind);
  EXPECT_THAT(kinds, ::testing::ElementsAre(EventKind::kMemberJoined, EventKind::kMemberLost, EventKind::kMemberLost,
                                            EventKind::kMemberLeft, EventKind::kRunEnded));
  EXPECT_EQ(own.events[1].step, 37u);
  EXPECT_EQ(own.events[1].bytes, static_cast<std::uint64_t>(SIGKILL));
}

TEST(DescribeRecordings, NamesTheHostsThatDoNotShareTheFolder) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(describe_recordings(folder.path(), {"node1", "node1"}),
            "recordings: " + folder.path() + "; tutti explain " + folder.path());
  folder.write("agent-0001.g1.rec", "");
  EXPECT_THAT(describe_recordings(folder.path(), {"node1", "node2", "node3", "node3"}),
              AllOf(HasSubstr(" of node1, and the same folder of node3;"), Not(HasSubstr("node2"))));
}

TEST(Explain, ShowsTheStackThatAProcessHasLeft) {
  RecordingFolder folder = run_with_a_death();
  folder.stacks[recording_name(folder.recordings[0].process)] = {"./train(spin+0x1f)", "./train(main+0x2a)"};
  EXPECT_THAT(explain(folder, 0), HasSubstr("rank 0 on node1, its stack when it was ended:\n"
                                            "  ./train(spin+0x1f)\n  ./train(main+0x2a)\n"));
}

}  // namespace
}  // namespace tutti::launch
