// SPDX-License-Identifier: Apache-2.0
#include "launch/child_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/wait.h>

#include "tests/support/eventually.h"

namespace tutti::launch {
namespace {

using testing::eventually;
constexpr auto kChildPatience = std::chrono::seconds(10);

ChildSpec shell(const std::string& script) {
  ChildSpec spec;
  spec.arguments = {"/bin/sh", "-c", script};
  spec.environment = environment_snapshot();
  return spec;
}

int wait_status_of(ChildProcess& child) {
  std::optional<int> status;
  EXPECT_TRUE(eventually(kChildPatience, [&] { return (status = child.reap()).has_value(); }));
  return status.value_or(-1);
}

/// What it wrote, once it has ended.
std::string output_of(ChildSpec spec) {
  auto child = ChildProcess::start(spec).value();
  EXPECT_EQ(wait_status_of(child), 0);
  const FileDescriptor out = child.take_stdout();
  return read_all(out.get(), 1 << 20, "the child's output").value();
}

TEST(ChildProcess, TellsItsExitCode) {
  auto child = ChildProcess::start(shell("exit 3")).value();
  const int status = wait_status_of(child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST(ChildProcess, TellsTheSignalThatKilledIt) {
  auto child = ChildProcess::start(shell("kill -KILL $$")).value();
  const int status = wait_status_of(child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(ChildProcess, WritesIntoItsTwoPipes) {
  auto child = ChildProcess::start(shell("echo to out; echo to err >&2")).value();
  wait_status_of(child);
  EXPECT_EQ(read_all(child.take_stdout().get(), 100, "stdout").value(), "to out\n");
  EXPECT_EQ(read_all(child.take_stderr().get(), 100, "stderr").value(), "to err\n");
}

TEST(ChildProcess, AProgramThatIsNotThereIsNamedWithTheReason) {
  ChildSpec spec;
  spec.arguments = {"/nowhere/train"};
  const auto child = ChildProcess::start(spec);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code, Errc::kUnavailable);
  EXPECT_THAT(child.error().text(), ::testing::AllOf(::testing::HasSubstr("/nowhere/train"),
                                                     ::testing::HasSubstr("No such file or directory")));
}

TEST(ChildProcess, SeesOnlyTheEnvironmentItWasGiven) {
  ChildSpec spec = shell("env");
  spec.environment = without_mpi({{"PATH", "/usr/bin:/bin"},
                                  {"OMPI_COMM_WORLD_RANK", "0"},
                                  {"PMIX_RANK", "0"},
                                  {"PMI_SIZE", "2"},
                                  {"KEPT", "yes"}});
  const std::string seen = output_of(spec);
  EXPECT_THAT(seen, ::testing::HasSubstr("KEPT=yes"));
  EXPECT_THAT(seen, ::testing::Not(::testing::ContainsRegex("OMPI_|PMIX_|PMI_")));
}

TEST(ChildProcess, InheritsTheNamedDescriptorsAndNoOther) {
  const FileDescriptor named(open("/dev/null", O_RDONLY | O_CLOEXEC)), forgotten(open("/dev/null", O_RDONLY));
  // A shell keeps its own above 9.
  ChildSpec spec = shell("for fd in 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$fd && echo $fd; done; true");
  spec.inherited = {named.get()};
  EXPECT_EQ(output_of(spec), std::to_string(named.get()) + "\n");
}

TEST(ChildProcess, HasDefaultHandlersAndAnEmptyMask) {
  signal(SIGPIPE, SIG_IGN);
  const std::string masks = output_of(shell("grep -E 'SigBlk|SigIgn' /proc/self/status"));
  EXPECT_EQ(masks, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(ChildProcess, LeadsAGroupThatEndsWithIt) {
  auto child = ChildProcess::start(shell("sleep 1000 & echo $!")).value();
  wait_status_of(child);
  const FileDescriptor out = child.take_stdout();
  EXPECT_TRUE(eventually(kChildPatience, [&] { return read_all(out.get(), 100, "stdout").has_value(); }))
      << "the grandchild holds the pipe until it is dead";
}

TEST(ChildProcess, RunsOnTheCoresItWasGiven) {
  const std::vector<int> cores = widen_core_mask();
  ChildSpec spec = shell("grep Cpus_allowed_list /proc/self/status");
  spec.cores = {cores.back()};
  EXPECT_EQ(output_of(spec), "Cpus_allowed_list:\t" + std::to_string(cores.back()) + "\n");
}

TEST(ChildProcess, WidensAMaskThatALauncherNarrowed) {
  const std::vector<int> all = widen_core_mask();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(all.front(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(widen_core_mask(), all);
}

}  // namespace
}  // namespace tutti::launch
