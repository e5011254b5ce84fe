// SPDX-License-Identifier: Apache-2.0
#include "common/trace/part.h"

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "common/trace/part_reader.h"
#include "tests/common/temporary_folder.h"
#include "tests/common/trace/trace_events.h"

namespace tutti::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Eq;
using ::testing::HasSubstr;

constexpr std::uint64_t kSeveralWindows = 3 * kPartWindowBytes / kRecordingEntryBytes;

RecordedProcess rank_3_of_node2() {
  return {.role = Role::kWorker, .rank = 3, .generation = 2, .pid = 0, .host = "node2"};
}

std::unique_ptr<TracePart> part_in(const TemporaryFolder& folder) {
  return TracePart::create(folder.path(), rank_3_of_node2(), Logger::none()).value();
}

Event numbered(std::uint64_t step, std::int32_t rank = 3) {
  return traced(static_cast<std::int64_t>(step), EventKind::kIterationBegin, step, 0, rank);
}

std::vector<Event> events_in(const std::string& path, std::uint64_t torn = 0) {
  auto reader = PartReader::open(path);
  EXPECT_TRUE(reader) << reader.error().text();
  std::vector<Event> events;
  while (const auto event = reader->next()) events.push_back(*event);
  EXPECT_EQ(reader->torn(), torn);
  return events;
}

/// 1, 2, 3, ... up to `last`.
void expect_all_in_order(const std::vector<Event>& events, std::uint64_t last) {
  ASSERT_EQ(events.size(), last);
  for (std::uint64_t step = 1; step <= last; ++step) ASSERT_EQ(events[step - 1].step, step);
}

TEST(TracePart, KeepsWhoItIsAndEveryFieldOfAnEvent) {
  const TemporaryFolder folder;
  const auto part = part_in(folder);
  Event event = traced(5, EventKind::kChunkReceived, 7, 9, 3);
  event.object = 1;
  event.bytes = 4096;
  event.exchange = 65535;
  part->record(event);
  EXPECT_EQ(part->path(), folder.file("rank-0003.g2.part"));
  const auto reader = PartReader::open(part->path());
  ASSERT_TRUE(reader) << reader.error().text();
  const RecordedProcess& process = reader->head().process;
  EXPECT_EQ(process.rank, 3);
  EXPECT_EQ(process.generation, 2u);
  EXPECT_EQ(process.pid, ::getpid());
  EXPECT_EQ(process.host, "node2");
  EXPECT_LE(reader->head().started, SteadyClock().now());
  const std::vector<Event> events = events_in(part->path());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].time, event.time);
  EXPECT_EQ(events[0].kind, EventKind::kChunkReceived);
  EXPECT_EQ(events[0].rank, 3);
  EXPECT_EQ(events[0].generation, 1u);
  EXPECT_EQ(events[0].step, 7u);
  EXPECT_EQ(events[0].object, 1u);
  EXPECT_EQ(events[0].bucket, 9u);
  EXPECT_EQ(events[0].bytes, 4096u);
  EXPECT_EQ(events[0].exchange, 65535u);
}

TEST(TracePart, GrowsWindowByWindow) {
  const TemporaryFolder folder;
  const auto part = part_in(folder);
  EXPECT_EQ(std::filesystem::file_size(part->path()), kPartWindowBytes);
  for (std::uint64_t step = 1; step <= kSeveralWindows; ++step) part->record(numbered(step));
  EXPECT_EQ(std::filesystem::file_size(part->path()), 4 * kPartWindowBytes) << "the page has a place, too";
  expect_all_in_order(events_in(part->path()), kSeveralWindows);
}

TEST(TracePart, TakesEventsFromSeveralThreadsAtTheEdgeOfWindows) {
  const TemporaryFolder folder;
  const auto part = part_in(folder);
  {
    std::vector<std::jthread> threads;
    for (std::int32_t rank = 0; rank < 4; ++rank) {
      threads.emplace_back([&part, rank] {
        for (std::uint64_t step = 1; step <= kSeveralWindows / 4; ++step) part->record(numbered(step, rank));
      });
    }
  }
  std::array<std::uint64_t, 4> next = {1, 1, 1, 1};
  for (const Event& event : events_in(part->path())) {
    ASSERT_EQ(event.step, next[static_cast<std::size_t>(event.rank)]++) << "of thread " << event.rank;
  }
  EXPECT_THAT(next, Each(Eq(kSeveralWindows / 4 + 1)));
}

TEST(TracePart, OutlivesAProcessThatIsKilled) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto part = TracePart::create(folder.path(), rank_3_of_node2(), Logger::none());
    if (!part) ::_exit(1);
    for (std::uint64_t step = 1; step <= kSeveralWindows; ++step) (*part)->record(numbered(step));
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  expect_all_in_order(events_in(folder.file("rank-0003.g2.part")), kSeveralWindows);
}

TEST(TracePart, GoesOnWithoutEventsOnAFullDiskAndSaysSoOnce) {
  const TemporaryFolder folder, outside;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=1500k") != 0) {
    GTEST_SKIP() << "a small disk is mounted by root only";
  }
  const std::string log = outside.file("log");
  std::vector<Event> events;
  {
    const auto part =
        TracePart::create(folder.path(), rank_3_of_node2(), Logger::to_file(log, "rank 3").value()).value();
    for (std::uint64_t step = 1; step <= kSeveralWindows; ++step) part->record(numbered(step));
    events = events_in(part->path());
  }
  ASSERT_EQ(::umount(folder.path().c_str()), 0);
  expect_all_in_order(events, (kPartWindowBytes - kRecordingPageBytes) / kRecordingEntryBytes);
  const std::string told = content_of(log);
  EXPECT_THAT(told, AllOf(HasSubstr("rank-0003.g2.part"), HasSubstr("No space left")));
  EXPECT_EQ(std::ranges::count(told, '\n'), 1);
}

TEST(TracePart, NamesTheFolderThatCannotBeMade) {
  const TemporaryFolder folder;
  const auto part = TracePart::create(folder.write("file", "") + "/parts", rank_3_of_node2(), Logger::none());
  ASSERT_FALSE(part);
  EXPECT_EQ(part.error().code, Errc::kIo);
  EXPECT_THAT(part.error().text(), HasSubstr("file/parts"));
}

TEST(TracePart, IsNoneWhereNoTraceIsAskedFor) {
  const auto part = begin_part("", rank_3_of_node2(), Logger::none());
  ASSERT_TRUE(part);
  EXPECT_EQ(*part, nullptr);
}

TEST(PartReader, LeavesATornEntryOutAndReadsOn) {
  for (std::size_t byte = 0; byte < kRecordingEntryBytes; ++byte) {
    const TemporaryFolder folder;
    const auto part = part_in(folder);
    for (std::uint64_t step = 1; step <= 3; ++step) part->record(numbered(step));
    std::string bytes = content_of(part->path());
    bytes[kRecordingPageBytes + kRecordingEntryBytes + byte] ^= 1;
    const std::vector<Event> events = events_in(folder.write("torn.part", bytes), 1);
    ASSERT_EQ(events.size(), 2u) << "byte " << byte;
    EXPECT_EQ(events[0].step, 1u);
    EXPECT_EQ(events[1].step, 3u);
  }
}

// A thread has taken its number and died, or not come to its store yet.
TEST(PartReader, ReadsOnBehindAnEntryThatWasNeverWritten) {
  const TemporaryFolder folder;
  const auto part = part_in(folder);
  for (std::uint64_t step = 1; step <= 3; ++step) part->record(numbered(step));
  std::string bytes = content_of(part->path());
  bytes.replace(kRecordingPageBytes, kRecordingEntryBytes, kRecordingEntryBytes, '\0');
  const std::vector<Event> events = events_in(folder.write("holed.part", bytes));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].step, 2u);
}

TEST(PartReader, PutsEventsOfSeveralThreadsIntoTheOrderOfTheirTimes) {
  const TemporaryFolder folder;
  const auto part = part_in(folder);
  for (const std::uint64_t step : {2, 4, 1, 3}) part->record(numbered(step));
  expect_all_in_order(events_in(part->path()), 4);
}

TEST(PartReader, RefusesWhatIsNoPart) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& bytes) {
    const auto reader = PartReader::open(folder.write("some.part", bytes));
    return reader ? "" : reader.error().text();
  };
  EXPECT_THAT(refusal(""), AllOf(HasSubstr("some.part is no part of a trace"), HasSubstr("TUTTIPRT")));
  EXPECT_THAT(refusal("TUTTIREC"), HasSubstr("is no part of a trace"));
  EXPECT_THAT(refusal("TUTTIPRT"), HasSubstr("ends after 8 bytes"));
  const auto part = part_in(folder);
  std::string bytes = content_of(part->path());
  bytes[20] ^= 0x40;
  EXPECT_THAT(refusal(bytes), HasSubstr("damaged first page"));
  bytes[8] = 2;
  EXPECT_THAT(refusal(bytes), HasSubstr("expected version 1"));
}

}  // namespace
}  // namespace tutti::testing
