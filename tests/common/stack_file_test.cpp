// SPDX-License-Identifier: Apache-2.0
#include "common/stack_file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/common/temporary_folder.h"

namespace tutti::testing {
namespace {

bool within_patience(const std::function<bool()>& is_so) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < give_up) {
    if (is_so()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

std::size_t lines_in(const std::string& path) {
  std::ifstream file(path);
  std::size_t lines = 0;
  for (std::string line; std::getline(file, line);) ++lines;
  return lines;
}

[[noreturn]] void spin(const std::string& path) {
  if (!write_stack_when_asked(path)) ::_exit(1);
  for (std::atomic<std::uint64_t> turns = 0;;) ++turns;
}

TEST(StackFile, ProcessThatSpinsLeavesItsStackAndSpinsOn) {
  const TemporaryFolder folder;
  const std::string path = stack_path(folder.file("rank-0003.g1.rec"));
  EXPECT_EQ(path, folder.file("rank-0003.g1.stack"));
  const pid_t pid = ::fork();
  if (pid == 0) spin(path);
  EXPECT_TRUE(within_patience([&] { return catches(pid, kStackSignal); }));
  EXPECT_EQ(lines_in(path), 0u) << "nobody has asked";
  ::kill(pid, kStackSignal);
  EXPECT_TRUE(within_patience([&] { return lines_in(path) > 2; }));
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0) << "it lives";
  ::kill(pid, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  discard_stack_file(path);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(StackFile, HandlerOfTheProgramsOwnStays) {
  const TemporaryFolder folder;
  const auto before = ::signal(kStackSignal, SIG_IGN);
  EXPECT_TRUE(write_stack_when_asked(folder.file("x.stack")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("x.stack")));
  EXPECT_FALSE(catches(::getpid(), kStackSignal));
  ::signal(kStackSignal, before);
}

}  // namespace
}  // namespace tutti::testing
