// SPDX-License-Identifier: Apache-2.0
#include "common/event_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <limits>

#include "tests/common/event_records.h"
#include "tests/common/temporary_folder.h"

namespace tutti {
namespace {

using testing::content_of;
using ::testing::ElementsAre;
using testing::fields_of;
using ::testing::HasSubstr;
using testing::Point;
using testing::points_of;
using ::testing::SizeIs;
using testing::whole_records;

constexpr double kBegin = 1'700'000'000.25;

std::unique_ptr<EventFile> begin(const std::string& folder) {
  return EventFile::create(folder, "node1", kBegin).value();
}

// What TensorFlow's own encoder and record writer make of the same events.
constexpr const char* kVersion =
    "18 00 00 00 00 00 00 00 a3 7f 4b 22 09 00 00 10 40 fc 54 d9 41 1a 0d 62 72 61 69 6e 2e 45 76 65 6e 74 3a 32 "
    "33 8d 2f e9 ";
constexpr const char* kScalar =
    "1b 00 00 00 00 00 00 00 1a 0d 9e 13 09 00 00 20 40 fc 54 d9 41 10 ac 02 2a 0d 0a 0b 0a 04 6c 6f 73 73 15 00 00 "
    "80 3e c5 f6 85 9b ";
constexpr const char* kHistogram =
    "6f 00 00 00 00 00 00 00 6c 31 81 de 09 00 00 20 40 fc 54 d9 41 10 ac 02 2a 61 0a 5f 0a 0a 67 72 61 64 69 65 "
    "6e 74 2f 77 2a 51 09 00 00 00 00 00 00 f0 bf 11 00 00 00 00 00 00 e0 3f 19 00 00 00 00 00 00 14 40 21 00 00 "
    "00 00 00 00 f8 bf 29 00 00 00 00 00 00 02 40 32 10 00 00 00 00 00 00 d0 bf 00 00 00 00 00 00 e0 3f 3a 10 00 "
    "00 00 00 00 00 00 40 00 00 00 00 00 00 08 40 1e fd ed 70 ";
constexpr const char* kRestart =
    "10 00 00 00 00 00 00 00 95 fb fe 18 09 00 00 20 40 fc 54 d9 41 10 ac 02 3a 02 08 01 b9 45 12 a3 ";

std::string as_hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x} ", static_cast<unsigned char>(byte));
  return text;
}

TEST(EventFile, HoldsTheBytesThatTensorFlowWrites) {
  const testing::TemporaryFolder folder;
  const auto events = begin(folder.path());
  events->scalar({300, 1'700'000'000.5}, "loss", 0.25);
  events->histogram({300, 1'700'000'000.5}, "gradient/w",
                    {.finite = 5,
                     .not_finite = 1,
                     .min = -1,
                     .max = 0.5,
                     .sum = -1.5,
                     .sum_squares = 2.25,
                     .limits = {-0.25, 0.5},
                     .counts = {2, 3}});
  events->restart({300, 1'700'000'000.5});
  ASSERT_TRUE(events->flush());
  EXPECT_EQ(as_hex(content_of(events->path())), std::string(kVersion) + kScalar + kHistogram + kRestart);
}

TEST(EventFile, IsNamedAfterTimeHostAndProcessInAFolderThatItMakes) {
  const testing::TemporaryFolder folder;
  const auto events = begin(folder.file("a/b"));
  EXPECT_EQ(events->path(), folder.file("a/b/events.out.tfevents.1700000000.node1.") + std::to_string(::getpid()));
  EXPECT_TRUE(std::filesystem::exists(events->path()));
}

TEST(EventFile, KeepsTextForTheTextPlugin) {
  const testing::TemporaryFolder folder;
  const auto events = begin(folder.path());
  events->text({7, kBegin}, "configuration", "# größer\n");
  ASSERT_TRUE(events->flush());
  const auto records = whole_records(content_of(events->path()));
  ASSERT_THAT(records, SizeIs(2));
  auto event = fields_of(records[1]);
  EXPECT_EQ(testing::little_endian(event[2]), 7u);
  auto value = fields_of(fields_of(event[5])[1]);
  EXPECT_EQ(value[1], "configuration");
  EXPECT_EQ(fields_of(value[8])[8], "# größer\n");
  EXPECT_EQ(fields_of(fields_of(value[9])[1])[1], "text");
}

TEST(EventFile, HoldsNumbersThatAreNone) {
  const testing::TemporaryFolder folder;
  const auto events = begin(folder.path());
  events->scalar({1, kBegin}, "loss", std::numeric_limits<double>::infinity());
  events->scalar({2, kBegin}, "loss", std::numeric_limits<double>::quiet_NaN());
  events->scalar({3, kBegin}, "loss", 1e300);
  ASSERT_TRUE(events->flush());
  const auto points = points_of(whole_records(content_of(events->path())));
  ASSERT_THAT(points, SizeIs(3));
  EXPECT_EQ(points[0].value, std::numeric_limits<double>::infinity());
  EXPECT_NE(points[1].value, points[1].value);
  EXPECT_EQ(points[2].value, std::numeric_limits<double>::infinity());
}

TEST(EventFile, ReplacesWhatIsNotUtf8) {
  const testing::TemporaryFolder folder;
  const auto events = begin(folder.path());
  events->scalar({1, kBegin}, "lo\xff\xfess", 1);
  ASSERT_TRUE(events->flush());
  EXPECT_EQ(points_of(whole_records(content_of(events->path())))[0].tag, "lo??ss");
}

TEST(EventFile, KeepsEveryRecordThatIsWholeWhereverItIsCut) {
  const testing::TemporaryFolder folder;
  const auto events = begin(folder.path());
  ASSERT_TRUE(events->flush());
  const std::size_t version = content_of(events->path()).size();
  for (int step = 1; step <= 3; ++step) events->scalar({step, kBegin}, "loss", step);
  ASSERT_TRUE(events->flush());
  const std::string whole = content_of(events->path());
  const std::size_t scalar = (whole.size() - version) / 3;
  for (std::size_t cut = version; cut <= whole.size(); ++cut) {
    const auto records = whole_records(std::string_view(whole).substr(0, cut));
    EXPECT_THAT(points_of(records), SizeIs((cut - version) / scalar)) << cut;
  }
}

TEST(EventFile, HasAllThatWasFlushedWhenItsProcessIsKilled) {
  const testing::TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto events = begin(folder.path());
    events->scalar({1, kBegin}, "loss", 0.5);
    (void)events->flush();
    events->scalar({2, kBegin}, "loss", 0.25);
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto file = *std::filesystem::directory_iterator(folder.path());
  EXPECT_THAT(points_of(whole_records(content_of(file.path()))), ElementsAre(Point{"loss", 1, 0.5, kBegin}));
}

TEST(EventFile, NamesAFolderItCannotMake) {
  const testing::TemporaryFolder folder;
  const auto events = EventFile::create(folder.write("taken", "") + "/logs", "node1", kBegin);
  ASSERT_FALSE(events);
  EXPECT_EQ(events.error().code, Errc::kIo);
  EXPECT_THAT(events.error().text(), HasSubstr("taken/logs cannot be made"));
}

TEST(EventFile, TellsOnceOfADiskThatIsFull) {
  const testing::TemporaryFolder folder;
  const std::string name = "/events.out.tfevents.1700000000.node1." + std::to_string(::getpid());
  std::filesystem::create_symlink("/dev/full", folder.path() + name);
  const auto events = begin(folder.path());
  const auto written = events->flush();
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().text(), HasSubstr("No space left"));
  EXPECT_THAT(written.error().text(), HasSubstr(name));
  for (int step = 1; step <= 1000; ++step) events->scalar({step, kBegin}, "loss", step);
  EXPECT_TRUE(events->flush());
  EXPECT_EQ(events->unwritten_bytes(), 0u);
}

}  // namespace
}  // namespace tutti
