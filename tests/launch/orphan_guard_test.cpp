// SPDX-License-Identifier: Apache-2.0
#include "launch/orphan_guard.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "launch/child_process.h"
#include "tests/support/eventually.h"

namespace tutti::launch {
namespace {

using testing::eventually;
constexpr auto kPatience = std::chrono::seconds(10);

bool is_gone(pid_t pid) {
  if (kill(pid, 0) != 0) return true;
  // A grandchild whose new parent does not reap it has ended all the same.
  auto stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  return !stat || stat->find(") Z ") != std::string::npos;
}

/// An agent in a process of its own, whose child is a shell that waits for the real worker; it says the worker's id and
/// is killed.
pid_t worker_of_killed_agent() {
  int line[2];
  EXPECT_EQ(pipe(line), 0);
  const pid_t agent = fork();
  if (agent == 0) {
    auto guard = OrphanGuard::start({}).value();
    ChildSpec spec;
    spec.arguments = {"/bin/sh", "-c", "sleep 1000 & echo $!; wait"};
    spec.guard = guard.line();
    auto child = ChildProcess::start(spec).value();
    const FileDescriptor out = child.take_stdout();
    char text[16] = {};
    eventually(kPatience, [&] { return read(out.get(), text, sizeof text - 1) > 0; });
    const pid_t worker = std::atoi(text);
    (void)!write(line[1], &worker, sizeof worker);
    ::raise(SIGKILL);
  }
  pid_t worker = 0;
  EXPECT_EQ(read(line[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  close(line[0]);
  close(line[1]);
  EXPECT_EQ(waitpid(agent, nullptr, 0), agent);
  return worker;
}

TEST(OrphanGuard, KillsTheWorkerBehindAShellWhenTheAgentIsKilled) {
  const pid_t worker = worker_of_killed_agent();
  ASSERT_GT(worker, 0);
  EXPECT_TRUE(eventually(kPatience, [&] { return is_gone(worker); }));
}

TEST(OrphanGuard, LeavesAGroupAloneThatWasForgotten) {
  auto guard = std::make_optional(OrphanGuard::start({}).value());
  ChildSpec spec;
  spec.arguments = {"/bin/sleep", "1000"};
  spec.guard = guard->line();
  auto child = ChildProcess::start(spec).value();
  guard->forget(child.pid());
  guard.reset();
  EXPECT_FALSE(child.reap().has_value());
  child.signal_group(SIGKILL);
  EXPECT_TRUE(eventually(kPatience, [&] { return child.reap().has_value(); }));
}

TEST(OrphanGuard, EndsWithItsOwner) {
  { auto guard = OrphanGuard::start({}).value(); }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
}

}  // namespace
}  // namespace tutti::launch
