// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"

#include <gmock/gmock.h>

#include "tests/common/temporary_folder.h"

namespace tutti {
namespace {

using ::testing::ContainsRegex;
using testing::content_of;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Logger, WritesTimeLevelWhoAndTextAtOnce) {
  const testing::TemporaryFolder folder;
  const auto log = Logger::to_file(folder.file("new/rank2.log"), "rank 2");
  ASSERT_TRUE(log) << log.error().text();
  log->warning("waits for {} at step {}", "rank 1", 37);
  EXPECT_THAT(content_of(folder.file("new/rank2.log")),
              ContainsRegex("^[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} WARNING rank 2: waits for rank 1 at step 37\n$"));
}

TEST(Logger, HandsWholeLinesToWhoeverPrintsThem) {
  std::vector<std::string> lines;
  const auto log = Logger::through([&](std::string_view line) { lines.emplace_back(line); }, "agent 0");
  log.info("joined");
  log.warning("no answer");
  EXPECT_THAT(lines, ::testing::ElementsAre(::testing::EndsWith(" INFO agent 0: joined\n"),
                                            ::testing::EndsWith(" WARNING agent 0: no answer\n")));
}

TEST(Logger, DropsWhatLiesBelowItsLevel) {
  const testing::TemporaryFolder folder;
  const auto log = Logger::to_file(folder.file("log"), "shard 0", LogLevel::kWarning);
  ASSERT_TRUE(log);
  log->info("a detail");
  log->error("a fault");
  EXPECT_THAT(content_of(folder.file("log")), Not(HasSubstr("a detail")));
  EXPECT_THAT(content_of(folder.file("log")), HasSubstr("ERROR shard 0: a fault"));
}

TEST(Logger, TakesTextWithBracesAsItIs) {
  const testing::TemporaryFolder folder;
  const auto log = Logger::to_file(folder.file("log"), "100% {rank}");
  ASSERT_TRUE(log);
  log->write(LogLevel::kInfo, "{} %v {0}");
  EXPECT_THAT(content_of(folder.file("log")), HasSubstr("INFO 100% {rank}: {} %v {0}\n"));
}

TEST(Logger, AppendsToAnOldFile) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.write("log", "from before\n");
  Logger::to_file(path, "rank 0").value().info("now");
  EXPECT_THAT(content_of(path), ContainsRegex("^from before\n.*now\n$"));
}

TEST(Logger, NamesAFileItCannotWrite) {
  const testing::TemporaryFolder folder;
  const auto log = Logger::to_file(folder.write("file", "") + "/below", "rank 0");
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code, Errc::kIo);
  EXPECT_THAT(log.error().text(), HasSubstr(folder.file("file/below")));
}

TEST(Logger, MayBeNone) {
  Logger::none().error("{}", "nobody reads this");
}

}  // namespace
}  // namespace tutti
