// SPDX-License-Identifier: Apache-2.0
#include "launch/executable.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "tests/common/temporary_folder.h"

namespace tutti::launch {
namespace {

std::string write_program(const testing::TemporaryFolder& folder, const std::string& name) {
  const std::string path = folder.write(name, "#!/bin/sh\n");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST(Executable, ANameIsLookedUpInPath) {
  const testing::TemporaryFolder folder;
  const std::string path = write_program(folder, "train");
  EXPECT_EQ(find_program("train", {{"PATH", "/nowhere:" + folder.path()}}).value(), path);
}

TEST(Executable, ANameIsFoundBesideTheRunningProgram) {
  const std::filesystem::path self = own_executable();
  EXPECT_EQ(find_program(self.filename().string(), {{"PATH", "/nowhere"}}).value(), self.string());
}

TEST(Executable, APathIsTakenAsItIs) {
  const testing::TemporaryFolder folder;
  const std::string path = write_program(folder, "train");
  EXPECT_EQ(find_program(path, {}).value(), path);
}

TEST(Executable, AFileThatCannotBeExecutedIsNoProgram) {
  const testing::TemporaryFolder folder;
  const auto found = find_program(folder.write("train", "#!/bin/sh\n"), {});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Errc::kUsage);
}

TEST(Executable, AProgramThatIsNowhereIsNamedWithThePlaces) {
  const auto found = find_program("no-such-train", {{"PATH", "/nowhere"}});
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().text(),
              ::testing::AllOf(::testing::HasSubstr("no-such-train"), ::testing::HasSubstr("PATH")));
}

}  // namespace
}  // namespace tutti::launch
