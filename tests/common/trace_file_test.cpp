// SPDX-License-Identifier: Apache-2.0
#include "common/trace_file.h"

#include <gmock/gmock.h>

#include "tests/common/temporary_folder.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;
using testing::content_of;
using ::testing::HasSubstr;

Event example(EventKind kind) {
  return {.time = TimePoint(1'234'567ns),
          .kind = kind,
          .rank = 2,
          .generation = 1,
          .step = 7,
          .object = 1,
          .bucket = 3,
          .bytes = 4096};
}

TEST(TraceFile, WritesOneObjectALine) {
  const testing::TemporaryFolder folder;
  const auto trace = TraceFile::create(folder.file("trace.jsonl"));
  ASSERT_TRUE(trace) << trace.error().text();
  (*trace)->record(example(EventKind::kBucketDone));
  (*trace)->record(example(EventKind::kWaitEnd));
  ASSERT_TRUE((*trace)->close());
  EXPECT_EQ(
      content_of(folder.file("trace.jsonl")),
      R"({"time_us":1234,"kind":"bucket_done","rank":2,"generation":1,"step":7,"object":1,"bucket":3,"bytes":4096})"
      "\n"
      R"({"time_us":1234,"kind":"wait_end","rank":2,"generation":1,"step":7,"object":1,"bucket":3,"bytes":4096})"
      "\n");
}

TEST(TraceFile, ReachesTheDiskAtTheEndOfEachIteration) {
  const testing::TemporaryFolder folder;
  const auto trace = TraceFile::create(folder.file("trace.jsonl"));
  ASSERT_TRUE(trace);
  (*trace)->record(example(EventKind::kIterationEnd));
  EXPECT_THAT(content_of(folder.file("trace.jsonl")), HasSubstr("iteration_end"));
}

TEST(TraceFile, NamesAFileItCannotWrite) {
  const auto trace = TraceFile::create("/nowhere/trace.jsonl");
  ASSERT_FALSE(trace);
  EXPECT_EQ(trace.error().code, Errc::kIo);
  EXPECT_THAT(trace.error().text(), HasSubstr("/nowhere/trace.jsonl"));
}

TEST(TraceFile, TellsOfALostLineWhenItIsClosed) {
  const auto trace = TraceFile::create("/dev/full");
  ASSERT_TRUE(trace);
  (*trace)->record(example(EventKind::kIterationEnd));
  const auto closed = (*trace)->close();
  ASSERT_FALSE(closed);
  EXPECT_THAT(closed.error().text(), HasSubstr("No space left"));
  EXPECT_TRUE((*trace)->close());
}

}  // namespace
}  // namespace tutti
