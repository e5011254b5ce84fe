// SPDX-License-Identifier: Apache-2.0
#include "launch/run_trace.h"

#include <gmock/gmock.h>

#include <csignal>
#include <filesystem>

#include <sys/wait.h>
#include <unistd.h>

#include "common/trace/part.h"
#include "tests/common/temporary_folder.h"
#include "tests/common/trace/trace_document.h"
#include "tests/common/trace/trace_events.h"
#include "tests/support/eventually.h"

namespace tutti::launch {
namespace {

using testing::eventually;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::TraceDocument;

constexpr auto kPatienceForATrace = std::chrono::seconds(10);
constexpr auto kNever = std::chrono::hours(1);

std::unique_ptr<TracePart> rank_with_steps(const std::string& trace, std::uint64_t steps) {
  auto part = begin_part(trace, {.role = Role::kWorker, .rank = 0, .host = "node1"}, Logger::none()).value();
  for (std::uint64_t step = 0; step < steps; ++step) {
    const auto at = static_cast<std::int64_t>(step) * 100;
    part->record(testing::traced(at, EventKind::kIterationBegin, step));
    part->record(testing::traced(at + 90, EventKind::kIterationEnd, step));
  }
  return part;
}

std::size_t steps_in_trace(const std::string& trace) {
  return TraceDocument::of(trace).slices("rank 0", "step").size();
}

class TraceOfAgent0 : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder;
  const std::string trace = folder.file("run.json");
};

TEST_F(TraceOfAgent0, IsMadeAgainAndAgainWhileTheRunGoesOn) {
  auto guard = OrphanGuard::start({}).value();
  const auto run = RunTrace::begin(trace, guard, std::chrono::milliseconds(5)).value();
  EXPECT_EQ(steps_in_trace(trace), 0u);
  const auto rank = rank_with_steps(trace, 3);
  EXPECT_TRUE(eventually(kPatienceForATrace, [&] { return steps_in_trace(trace) == 3; }));
  rank->record(testing::traced(900, EventKind::kIterationBegin, 9));
  rank->record(testing::traced(990, EventKind::kIterationEnd, 9));
  EXPECT_TRUE(eventually(kPatienceForATrace, [&] { return steps_in_trace(trace) == 4; }));
  EXPECT_TRUE(std::filesystem::exists(rank->path()));
}

TEST_F(TraceOfAgent0, IsFinishedOnce) {
  {
    auto guard = OrphanGuard::start({}).value();
    const auto run = RunTrace::begin(trace, guard, kNever).value();
    const auto rank = rank_with_steps(trace, 3);
    run->finish(Logger::none());
    EXPECT_EQ(steps_in_trace(trace), 3u);
    EXPECT_FALSE(std::filesystem::exists(parts_folder(trace)));
    std::ofstream(trace) << "what somebody has made of it";
  }
  EXPECT_EQ(testing::content_of(trace), "what somebody has made of it") << "the guard has left it alone";
}

TEST_F(TraceOfAgent0, IsFinishedByTheGuardWhenTheAgentIsKilled) {
  const pid_t agent = ::fork();
  ASSERT_GE(agent, 0);
  if (agent == 0) {
    auto guard = OrphanGuard::start({}).value();
    const auto run = RunTrace::begin(trace, guard, kNever).value();
    const auto rank = rank_with_steps(trace, 3);
    ::raise(SIGKILL);
  }
  ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);
  EXPECT_TRUE(eventually(kPatienceForATrace, [&] { return !std::filesystem::exists(parts_folder(trace)); }));
  EXPECT_EQ(steps_in_trace(trace), 3u);
}

TEST_F(TraceOfAgent0, NamesThePathThatCannotBeWritten) {
  auto guard = OrphanGuard::start({}).value();
  const auto run = RunTrace::begin(folder.write("file", "") + "/run.json", guard, kNever);
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().code, Errc::kIo);
  EXPECT_THAT(run.error().text(), HasSubstr("file/run.json"));
}

}  // namespace
}  // namespace tutti::launch
