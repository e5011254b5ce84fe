// SPDX-License-Identifier: Apache-2.0
#include "common/recording.h"

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <thread>

#include "tests/common/temporary_folder.h"

namespace tutti {
namespace {

using ::testing::AllOf;
using testing::content_of;
using ::testing::HasSubstr;

RecordedProcess rank_3() {
  return {.role = Role::kWorker, .rank = 3, .generation = 2, .pid = 77, .host = "node2"};
}

Event event_of_step(std::uint64_t step, std::int32_t rank = 3) {
  return {.time = TimePoint(Duration(static_cast<std::int64_t>(1000 + step))),
          .kind = EventKind::kBucketDone,
          .rank = rank,
          .generation = 2,
          .step = step,
          .object = 1,
          .bucket = 9,
          .bytes = 4096};
}

std::unique_ptr<Recorder> recorder_in(const testing::TemporaryFolder& folder) {
  return Recorder::create(folder.path(), rank_3()).value();
}

std::vector<std::uint64_t> steps_in(const Recording& recording) {
  std::vector<std::uint64_t> steps;
  for (const Event& event : recording.events) steps.push_back(event.step);
  return steps;
}

/// Where the entry of the event with this number lies in the file.
std::size_t offset_of(std::uint64_t number) {
  return kRecordingPageBytes + (number - 1) % kRecordedEvents * kRecordingEntryBytes;
}

TEST(RecordingName, TellsRoleRankAndGeneration) {
  EXPECT_EQ(recording_name(rank_3()), "rank-0003.g2.rec");
  EXPECT_EQ(recording_name({.role = Role::kServer, .rank = 12345}), "shard-12345.g1.rec");
  EXPECT_EQ(recording_name({.role = Role::kAgent, .rank = 0, .generation = 10}), "agent-0000.g10.rec");
}

TEST(Recorder, KeepsWhoItIsAndEveryFieldOfAnEvent) {
  const testing::TemporaryFolder folder;
  const auto recorder = recorder_in(folder);
  recorder->record(event_of_step(7));
  EXPECT_EQ(recorder->path(), folder.file("rank-0003.g2.rec"));
  const auto read = read_recording(recorder->path());
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->process.role, Role::kWorker);
  EXPECT_EQ(read->process.rank, 3);
  EXPECT_EQ(read->process.generation, 2u);
  EXPECT_EQ(read->process.pid, 77);
  EXPECT_EQ(read->process.host, "node2");
  EXPECT_GT(read->wall_ns, 1'700'000'000'000'000'000);
  EXPECT_LE(read->started, SteadyClock().now());
  EXPECT_EQ(read->torn, 0u);
  ASSERT_EQ(read->events.size(), 1u);
  const Event& event = read->events.front();
  EXPECT_EQ(event.time, event_of_step(7).time);
  EXPECT_EQ(event.kind, EventKind::kBucketDone);
  EXPECT_EQ(event.rank, 3);
  EXPECT_EQ(event.generation, 2u);
  EXPECT_EQ(event.step, 7u);
  EXPECT_EQ(event.object, 1u);
  EXPECT_EQ(event.bucket, 9u);
  EXPECT_EQ(event.bytes, 4096u);
}

TEST(Recorder, KeepsTheLast2048EventsInOrder) {
  const testing::TemporaryFolder folder;
  const auto recorder = recorder_in(folder);
  EXPECT_TRUE(read_recording(recorder->path()).value().events.empty());
  for (std::uint64_t step = 1; step <= kRecordedEvents + 100; ++step) recorder->record(event_of_step(step));
  const auto steps = steps_in(read_recording(recorder->path()).value());
  ASSERT_EQ(steps.size(), kRecordedEvents);
  EXPECT_EQ(steps.front(), 101u);
  EXPECT_EQ(steps.back(), kRecordedEvents + 100);
  EXPECT_TRUE(std::ranges::is_sorted(steps));
}

TEST(Recorder, KeepsItsRingForWhatExplainsADeath) {
  const testing::TemporaryFolder folder;
  const auto recorder = recorder_in(folder);
  recorder->record(event_of_step(1));
  for (const EventKind kind :
       {EventKind::kPushStarted, EventKind::kResultArriving, EventKind::kPushArrived, EventKind::kClockOffset}) {
    Event event = event_of_step(2);
    event.kind = kind;
    recorder->record(event);
  }
  EXPECT_EQ(steps_in(read_recording(recorder->path()).value()), (std::vector<std::uint64_t>{1}));
}

TEST(Recorder, TakesEventsFromSeveralThreads) {
  const testing::TemporaryFolder folder;
  const auto recorder = recorder_in(folder);
  {
    std::vector<std::jthread> threads;
    for (std::int32_t rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&recorder, rank] {
        for (std::uint64_t step = 1; step <= kRecordedEvents / 2; ++step) recorder->record(event_of_step(step, rank));
      });
    }
  }
  const Recording recording = read_recording(recorder->path()).value();
  EXPECT_EQ(recording.torn, 0u);
  EXPECT_EQ(recording.events.size(), kRecordedEvents);
  for (std::int32_t rank = 0; rank < 2; ++rank) {
    std::uint64_t next = 1;
    for (const Event& event : recording.events) {
      if (event.rank != rank) continue;
      EXPECT_EQ(event.step, next++) << "of thread " << rank;
    }
    EXPECT_EQ(next, kRecordedEvents / 2 + 1);
  }
}

TEST(Recorder, ReplacesAnOlderOneWhoseProcessGoesOnUnharmed) {
  const testing::TemporaryFolder folder;
  const auto older = recorder_in(folder);
  const auto newer = recorder_in(folder);
  older->record(event_of_step(1));
  newer->record(event_of_step(2));
  EXPECT_EQ(steps_in(read_recording(newer->path()).value()), (std::vector<std::uint64_t>{2}));
}

TEST(Recorder, LeavesNothingOfAProcessThatEndedWell) {
  const testing::TemporaryFolder folder;
  const auto recorder = recorder_in(folder);
  recorder->discard();
  recorder->record(event_of_step(1));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Recorder, OutlivesAProcessThatIsKilled) {
  const testing::TemporaryFolder folder;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto recorder = Recorder::create(folder.path(), rank_3());
    if (!recorder) ::_exit(1);
    for (std::uint64_t step = 1; step <= 5; ++step) (*recorder)->record(event_of_step(step));
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  const auto read = read_recording(folder.file("rank-0003.g2.rec"));
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(steps_in(*read), (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
}

TEST(Recorder, FailsAtTheStartWhereTheFolderCannotBeMade) {
  const testing::TemporaryFolder folder;
  const auto recorder = Recorder::create(folder.write("file", "") + "/recordings", rank_3());
  ASSERT_FALSE(recorder);
  EXPECT_EQ(recorder.error().code, Errc::kIo);
  EXPECT_THAT(recorder.error().text(), HasSubstr("file/recordings"));
}

TEST(Recorder, FailsAtTheStartOnAFullDisk) {
  const testing::TemporaryFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "a small disk is mounted by root only";
  }
  const auto recorder = Recorder::create(folder.path(), rank_3());
  const bool is_empty = std::filesystem::is_empty(folder.path());
  ASSERT_EQ(::umount(folder.path().c_str()), 0);
  ASSERT_FALSE(recorder);
  EXPECT_THAT(recorder.error().text(), AllOf(HasSubstr("rank-0003.g2.rec"), HasSubstr("No space left")));
  EXPECT_TRUE(is_empty) << "no part of a recording stays";
}

TEST(BeginRecording, SaysOnceWhyItGoesOnWithout) {
  const testing::TemporaryFolder folder;
  const std::string log = folder.file("log");
  const Logger logger = Logger::to_file(log, "rank 3").value();
  EXPECT_EQ(begin_recording("", rank_3(), logger), nullptr);
  EXPECT_EQ(content_of(log), "") << "nothing was asked for";
  EXPECT_EQ(begin_recording(folder.write("file", "") + "/recordings", rank_3(), logger), nullptr);
  EXPECT_THAT(content_of(log), AllOf(HasSubstr("goes on without a flight recorder"), HasSubstr("file/recordings")));
}

TEST(BeginRecording, KnowsItsProcess) {
  const testing::TemporaryFolder folder;
  const auto recorder = begin_recording(folder.path(), rank_3(), Logger::none());
  ASSERT_NE(recorder, nullptr);
  EXPECT_EQ(read_recording(recorder->path()).value().process.pid, ::getpid());
}

/// A recording of three events, with something done to its bytes.
class Damaged {
 public:
  template <class Damage>
  explicit Damaged(Damage damage) {
    const auto recorder = recorder_in(folder_);
    for (std::uint64_t step = 1; step <= 3; ++step) recorder->record(event_of_step(step));
    std::string bytes = content_of(recorder->path());
    damage(bytes);
    path_ = folder_.write("damaged.rec", bytes);
  }
  Result<Recording> read() const { return read_recording(path_); }
  std::string refusal() const {
    const auto read = read_recording(path_);
    if (read) return "";
    EXPECT_EQ(read.error().code, Errc::kBadData);
    EXPECT_THAT(read.error().text(), HasSubstr(path_));
    return read.error().text();
  }

 private:
  const testing::TemporaryFolder folder_;
  std::string path_;
};

TEST(ReadRecording, LeavesATornEntryOut) {
  for (std::size_t byte = 0; byte < kRecordingEntryBytes; ++byte) {
    const Damaged torn([&](std::string& bytes) { bytes[offset_of(2) + byte] ^= 1; });
    const auto read = torn.read();
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(steps_in(*read), (std::vector<std::uint64_t>{1, 3})) << "byte " << byte;
    EXPECT_EQ(read->torn, 1u);
  }
}

TEST(ReadRecording, LeavesAnEntryOutThatLiesInAnothersPlace) {
  const Damaged moved([](std::string& bytes) { bytes.replace(offset_of(4), 64, bytes, offset_of(2), 64); });
  const auto read = moved.read();
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(steps_in(*read), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(read->torn, 1u);
}

TEST(ReadRecording, RefusesWhatIsNoRecording) {
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes[0] = 'X'; }).refusal(), HasSubstr("is no recording"));
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes.clear(); }).refusal(), HasSubstr("is no recording"));
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes.assign(bytes.size(), '\0'); }).refusal(),
              HasSubstr("is no recording"));
}

TEST(ReadRecording, RefusesAnotherVersion) {
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes[8] = 2; }).refusal(),
              AllOf(HasSubstr("version 2"), HasSubstr("expected version 1")));
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes[17] = 1; }).refusal(), HasSubstr("entries"));
}

TEST(ReadRecording, RefusesATruncatedOrLongerFile) {
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes.resize(100); }).refusal(), HasSubstr("ends after 100 bytes"));
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes.pop_back(); }).refusal(), HasSubstr("holds 135167 bytes"));
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes.append("1"); }).refusal(), HasSubstr("holds 135169 bytes"));
  EXPECT_THAT(Damaged([](std::string& bytes) { bytes.append(1 << 20, '1'); }).refusal(), HasSubstr("larger than"));
}

TEST(ReadRecording, RefusesADamagedPage) {
  for (const std::size_t byte : {20u, 24u, 28u, 32u, 36u, 40u, 48u, 56u, 311u, 312u}) {
    EXPECT_THAT(Damaged([&](std::string& bytes) { bytes[byte] ^= 0x40; }).refusal(), HasSubstr("damaged first page"))
        << byte;
  }
}

TEST(ReadRecording, NamesAFileThatIsNotThere) {
  const auto read = read_recording("/nowhere/rank-0000.g1.rec");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::kIo);
  EXPECT_THAT(read.error().text(), HasSubstr("/nowhere/rank-0000.g1.rec"));
}

}  // namespace
}  // namespace tutti
