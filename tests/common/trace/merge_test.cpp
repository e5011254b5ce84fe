// SPDX-License-Identifier: Apache-2.0
#include "common/trace/merge.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "common/trace/part.h"
#include "tests/common/temporary_folder.h"
#include "tests/common/trace/trace_events.h"

namespace tutti::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

RecordedProcess worker_of(std::int32_t rank, std::uint32_t generation = 1, const std::string& host = "node1") {
  return {.role = Role::kWorker, .rank = rank, .generation = generation, .pid = 0, .host = host};
}

class TraceOfARun : public ::testing::Test {
 protected:
  std::unique_ptr<TracePart> part(const RecordedProcess& process) const {
    return begin_part(trace, process, Logger::none()).value();
  }
  static void do_step(TracePart& part, std::uint64_t step) {
    const auto at = static_cast<std::int64_t>(step) * 100;
    part.record(traced(at, EventKind::kIterationBegin, step));
    part.record(traced(at + 90, EventKind::kIterationEnd, step));
  }

  TemporaryFolder folder;
  const std::string trace = folder.file("run.json");
  const std::string parts = folder.file("run.json.parts");
};

TEST_F(TraceOfARun, IsWholeFromTheStart) {
  ASSERT_TRUE(prepare_trace(trace));
  EXPECT_THAT(TraceDocument::of(trace).processes(), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(parts));
}

TEST_F(TraceOfARun, HoldsNothingOfAnOlderRun) {
  part(worker_of(7));
  ASSERT_TRUE(prepare_trace(trace));
  EXPECT_TRUE(std::filesystem::is_empty(parts));
}

TEST_F(TraceOfARun, NamesTheFileThatCannotBeWritten) {
  const auto in_a_file = prepare_trace(folder.write("file", "") + "/run.json");
  ASSERT_FALSE(in_a_file);
  EXPECT_EQ(in_a_file.error().code, Errc::kIo);
  EXPECT_THAT(in_a_file.error().text(), HasSubstr("file/run.json"));
  std::filesystem::create_directory(trace);
  const auto a_folder = prepare_trace(trace);
  ASSERT_FALSE(a_folder);
  EXPECT_THAT(a_folder.error().text(), HasSubstr(trace));
}

TEST_F(TraceOfARun, HasEveryProcessWithItsHostAndGeneration) {
  ASSERT_TRUE(prepare_trace(trace));
  const auto shard = part({.role = Role::kServer, .rank = 0, .host = "node2"});
  const auto second = part(worker_of(1, 2, "node2")), first = part(worker_of(1)), other = part(worker_of(0));
  const auto agent = part({.role = Role::kAgent, .rank = 0, .host = "node1"});
  ASSERT_TRUE(finish_trace(trace));
  EXPECT_THAT(TraceDocument::of(trace).processes(),
              ElementsAre("rank 0 on node1", "rank 1 on node1", "rank 1 on node2 (generation 2)", "shard 0 on node2",
                          "agent 0 on node1"));
}

TEST_F(TraceOfARun, LeavesNothingElseBehind) {
  ASSERT_TRUE(prepare_trace(trace));
  const auto rank = part(worker_of(0));
  do_step(*rank, 3);
  const auto told = finish_trace(trace);
  ASSERT_TRUE(told) << told.error().text();
  EXPECT_THAT(*told, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(parts));
  EXPECT_THAT(TraceDocument::of(trace).slices("rank 0", "step"), SizeIs(1));
  do_step(*rank, 4);  // a thread that is late does no harm
}

TEST_F(TraceOfARun, TakesAwayWhatAMergeHasLeftThatWasKilled) {
  ASSERT_TRUE(prepare_trace(trace));
  folder.write("run.json.parts/merged-1.json", "{");
  ASSERT_TRUE(finish_trace(trace));
  EXPECT_FALSE(std::filesystem::exists(parts));
}

TEST_F(TraceOfARun, KeepsAPartThatItCannotReadAndSaysWhy) {
  ASSERT_TRUE(prepare_trace(trace));
  do_step(*part(worker_of(0)), 3);
  folder.write("run.json.parts/rank-0001.g1.part", "torn");
  const auto told = finish_trace(trace);
  ASSERT_TRUE(told) << told.error().text();
  EXPECT_THAT(*told, ElementsAre(HasSubstr("rank-0001.g1.part is no part of a trace")));
  EXPECT_TRUE(std::filesystem::exists(folder.file("run.json.parts/rank-0001.g1.part")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("run.json.parts/rank-0000.g1.part")));
  const auto document = TraceDocument::of(trace);
  EXPECT_THAT(document.about().at("skipped_parts").as_array(), SizeIs(1));
}

TEST_F(TraceOfARun, LeavesThePartsOfARunThatBeganMeanwhile) {
  ASSERT_TRUE(prepare_trace(trace));
  const auto older = part(worker_of(0));
  const auto merged = merge_trace(parts, trace);
  ASSERT_TRUE(merged);
  const auto newer = part(worker_of(0));
  remove_parts(parts, *merged);
  EXPECT_TRUE(std::filesystem::exists(newer->path()));
}

TEST_F(TraceOfARun, ShowsWhatAKilledProcessHadRecorded) {
  ASSERT_TRUE(prepare_trace(trace));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto own = begin_part(trace, worker_of(1), Logger::none());
    if (!own) ::_exit(1);
    for (std::uint64_t step = 0; step < 5; ++step) do_step(**own, step);
    (*own)->record(traced(500, EventKind::kIterationBegin, 5));
    (*own)->record(traced(510, EventKind::kBucketReady, 5));
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  ASSERT_TRUE(finish_trace(trace));
  const auto steps = TraceDocument::of(trace).slices("rank 1", "step");
  ASSERT_THAT(steps, SizeIs(6));
  EXPECT_EQ(steps.back().argument("unfinished"), 1);
  EXPECT_DOUBLE_EQ(steps.back().dur, 10);
}

TEST_F(TraceOfARun, CountsTornEntries) {
  ASSERT_TRUE(prepare_trace(trace));
  const auto rank = part(worker_of(0));
  do_step(*rank, 1);
  do_step(*rank, 2);
  std::fstream file(rank->path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(kRecordingPageBytes + 16).put('x');
  file.close();
  ASSERT_TRUE(finish_trace(trace));
  const auto document = TraceDocument::of(trace);
  EXPECT_EQ(document.about().at("torn_entries").as_int64(), 1);
  EXPECT_THAT(document.slices("rank 0", "step"), SizeIs(1));
}

TEST_F(TraceOfARun, StaysAsItWasWhereAMergeIsStopped) {
  ASSERT_TRUE(prepare_trace(trace));
  do_step(*part(worker_of(0)), 1);
  const std::atomic<bool> stop = true;
  const auto merged = merge_trace(parts, trace, &stop);
  ASSERT_FALSE(merged);
  EXPECT_EQ(merged.error().code, Errc::kCancelled);
  EXPECT_THAT(TraceDocument::of(trace).processes(), IsEmpty());
}

TEST_F(TraceOfARun, TellsHowFarTheClocksAreApart) {
  ASSERT_TRUE(prepare_trace(trace));
  const auto rank = part(worker_of(0, 1, "node \"2\""));
  Event offset = traced(100, EventKind::kClockOffset, 80'000);
  offset.bytes = static_cast<std::uint64_t>(std::int64_t{-5'000'000'000});
  rank->record(offset);
  do_step(*rank, 1);
  ASSERT_TRUE(finish_trace(trace));
  const auto document = TraceDocument::of(trace);
  const auto& clock = document.about().at("clocks").as_object().at("node \"2\"").as_object();
  EXPECT_EQ(clock.at("offset_ns").as_int64(), -5'000'000'000);
  EXPECT_EQ(clock.at("uncertainty_ns").as_int64(), 40'000);
  EXPECT_EQ(clock.at("by").as_string(), "round trips");
}

TEST(ChromeWriter, KeepsNanosecondsAndTimesBeforeZero) {
  std::string text;
  ChromeWriter writer([&](std::string_view more) {
    text += more;
    return Result<>();
  });
  writer.begin_process(1, "rank 0", Role::kWorker, [](TimePoint time) { return time.time_since_epoch().count(); });
  writer.slice({{}, "step", "a \"name\"\n", TimePoint(Duration(-1'500)), TimePoint(Duration(2'001))});
  ASSERT_TRUE(writer.finish("{}"));
  EXPECT_THAT(text, HasSubstr(R"("ts":-1.500,"dur":3.501,"cat":"step","name":"a \"name\"\n")"));
}

TEST(ChromeWriter, TellsTheFirstFailure) {
  int writes = 0;
  ChromeWriter writer([&](std::string_view) {
    ++writes;
    return Result<>(fail(Errc::kIo, "the disk is full"));
  });
  writer.begin_process(1, "rank 0", Role::kWorker, [](TimePoint) { return std::int64_t{0}; });
  for (int i = 0; i < 10'000; ++i) writer.slice({{}, "step", "step 1", {}, {}});
  const auto finished = writer.finish("{}");
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().text(), "the disk is full");
  EXPECT_EQ(writes, 1);
}

}  // namespace
}  // namespace tutti::testing
