// SPDX-License-Identifier: Apache-2.0
#include "common/pulse.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "common/net/frame.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;

struct Pulsing {
  void record(EventKind kind, Duration at = {}, FrameType request = FrameType::kContribute) {
    pulse->record({TimePoint(at), kind, 0, 1, 0, 0, static_cast<std::uint32_t>(request), 0});
  }
  Loop loop;
  StatusPage page = StatusPage::create().value();
  std::unique_ptr<Pulse> pulse = Pulse::start(loop, page, milliseconds(1)).value();
};

TEST(Pulse, BeatsWhileTheLoopRuns) {
  Pulsing process;
  const auto has_beaten = [&](std::uint64_t beats) {
    const Deadline deadline = SteadyClock().now() + std::chrono::seconds(10);
    while (process.page.beats() < beats && SteadyClock().now() < deadline) std::this_thread::yield();
    return process.page.beats() >= beats;
  };
  EXPECT_TRUE(has_beaten(3));
  process.pulse.reset();
  EXPECT_TRUE(has_beaten(process.page.beats() + 3)) << "the loop outlives what made it beat";
}

TEST(Pulse, ShowsWhatTheTrainingThreadIsAt) {
  Pulsing process;
  EXPECT_EQ(process.page.activity(), Activity::kStarting);
  process.record(EventKind::kRequestBegin);
  EXPECT_EQ(process.page.activity(), Activity::kWaiting);
  process.record(EventKind::kRequestEnd);
  EXPECT_EQ(process.page.activity(), Activity::kStarting) << "no step was begun";
  process.record(EventKind::kIterationBegin);
  EXPECT_EQ(process.page.activity(), Activity::kWorking);
  process.record(EventKind::kWaitBegin);
  EXPECT_EQ(process.page.activity(), Activity::kWaiting);
  process.record(EventKind::kWaitEnd);
  EXPECT_EQ(process.page.activity(), Activity::kWorking);
  process.record(EventKind::kRequestBegin, {}, FrameType::kLeave);
  EXPECT_EQ(process.page.activity(), Activity::kLeaving);
}

TEST(Pulse, TellsOneWaitFromTheNext) {
  Pulsing process;
  process.record(EventKind::kWaitBegin);
  const std::uint64_t first = process.page.activity_changes();
  process.record(EventKind::kWaitBegin);
  EXPECT_NE(process.page.activity_changes(), first) << "the one before failed, and was taken up again";
}

TEST(Pulse, AddsUpTheWaitsForTheOthers) {
  Pulsing process;
  process.record(EventKind::kWaitBegin, milliseconds(100));
  process.record(EventKind::kWaitEnd, milliseconds(130));
  process.record(EventKind::kRequestBegin, milliseconds(200));
  process.record(EventKind::kRequestEnd, milliseconds(900));
  process.record(EventKind::kWaitBegin, milliseconds(1000));
  process.record(EventKind::kWaitEnd, milliseconds(1002));
  EXPECT_EQ(process.page.waited(), milliseconds(32)) << "of its exchanges";
}

TEST(StatusPage, LeaseEndsAtItsTimeAndWithoutOneNothingEnds) {
  auto agents = StatusPage::create().value();
  const auto childs = agents.share().value();
  EXPECT_FALSE(childs.lease_ended(TimePoint::max()));
  agents.set_lease(TimePoint(milliseconds(500)));
  EXPECT_FALSE(childs.lease_ended(TimePoint(milliseconds(500))));
  EXPECT_TRUE(childs.lease_ended(TimePoint(milliseconds(501))));
}

}  // namespace
}  // namespace tutti::testing
