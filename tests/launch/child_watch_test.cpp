// SPDX-License-Identifier: Apache-2.0
#include "launch/child_watch.h"

#include <gtest/gtest.h>

namespace tutti::launch {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Watching {
  ChildBeat look(Duration later) { return watch.look({Role::kWorker, 3}, page, now += later); }

  TimePoint now{};
  StatusPage page = StatusPage::create().value();
  ChildWatch watch{milliseconds(500)};
};

std::uint64_t ns(Duration time) {
  return static_cast<std::uint64_t>(time.count());
}

TEST(ChildWatch, SilenceIsTheTimeWithoutABeat) {
  Watching child;
  child.page.beat();
  EXPECT_EQ(child.look(milliseconds(500)).silent_ns, 0u);
  EXPECT_EQ(child.look(milliseconds(500)).silent_ns, ns(milliseconds(500)));
  EXPECT_EQ(child.look(milliseconds(500)).silent_ns, ns(seconds(1)));
  child.page.beat();
  EXPECT_EQ(child.look(milliseconds(500)).silent_ns, 0u);
}

TEST(ChildWatch, ChildThatHasNotBegunToBeatIsNotSilent) {
  Watching child;
  for (int look = 0; look < 100; ++look) EXPECT_EQ(child.look(milliseconds(500)).silent_ns, 0u);
}

TEST(ChildWatch, AgentThatWasAwayHasSeenNoSilence) {
  Watching child;
  child.page.beat();
  child.page.set_activity(Activity::kWaiting, 1);
  (void)child.look(milliseconds(500));
  const ChildBeat beat = child.look(seconds(60));
  EXPECT_EQ(beat.silent_ns, ns(seconds(1))) << "two periods at most";
  EXPECT_EQ(beat.since_ns, ns(seconds(1)));
}

TEST(ChildWatch, TellsWhatTheChildSaysOfItself) {
  Watching child;
  child.page.set_step(37);
  child.page.set_activity(Activity::kWaiting, 5);
  child.page.set_waited(milliseconds(80));
  (void)child.look(milliseconds(500));
  const ChildBeat beat = child.look(milliseconds(500));
  EXPECT_EQ(beat.member, (MemberId{Role::kWorker, 3}));
  EXPECT_EQ(beat.activity, Activity::kWaiting);
  EXPECT_EQ(beat.step, 37u);
  EXPECT_EQ(beat.since_ns, ns(milliseconds(500)));
  EXPECT_EQ(beat.waited_ns, ns(milliseconds(80)));
  child.page.set_activity(Activity::kWaiting, 7);
  EXPECT_EQ(child.look(milliseconds(500)).since_ns, 0u) << "another wait";
}

}  // namespace
}  // namespace tutti::launch
