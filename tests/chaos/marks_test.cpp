// SPDX-License-Identifier: Apache-2.0
// Faults are measured by these figures: they are held against diaries that were made up.
#include "tests/chaos/marks.h"

#include <gtest/gtest.h>

namespace tutti::testing {
namespace {

constexpr std::int64_t kMs = 1'000'000, kNever = 1'000'000 * kMs;

/// One step each millisecond, `from` at `ns`.
void walk(Diary& diary, pid_t pid, std::int64_t from, std::int64_t to, std::int64_t ns) {
  for (std::int64_t step = from; step < to; ++step) diary.push_back({pid, step, ns + (step - from) * kMs});
}

/// Rank 1 is struck in step 5 at 5.5 ms, its successor begins at 100 ms, and step 5 is made at 200 ms.
std::vector<Diary> replaced() {
  std::vector<Diary> diaries(2);
  diaries[0] = {{10, -1, 0}};
  walk(diaries[0], 10, 0, 5, kMs);
  walk(diaries[0], 10, 5, 10, 200 * kMs);
  diaries[1] = {{11, -1, 0}};
  walk(diaries[1], 11, 0, 5, kMs);
  diaries[1].push_back({12, -1, 100 * kMs});
  walk(diaries[1], 12, 5, 10, 200 * kMs);
  return diaries;
}
constexpr Strike kStrike{1, 5, 5'500'000};

TEST(Marks, ReplacedWorkerLosesNoStepAndTheNextOneIsTheNewcomers) {
  const Measured measured = measure(replaced(), kStrike, kNever, {});
  EXPECT_EQ(measured.lost, 0);
  EXPECT_DOUBLE_EQ(measured.resumed_s.value(), 0.1945);
  EXPECT_EQ(measured.before, 5);
  EXPECT_EQ(measured.after, 5);
  EXPECT_FALSE(measured.detected_s);
}

TEST(Marks, StepsThatAreMadeAgainAreLostOnes) {
  auto diaries = replaced();
  for (Diary& diary : diaries) {
    std::erase_if(diary, [](const Stamp& stamp) { return stamp.step >= 0 && stamp.ns > kStrike.ns; });
    walk(diary, 13, 2, 10, 300 * kMs);
  }
  EXPECT_EQ(measure(diaries, kStrike, kNever, {}).lost, 3);
}

TEST(Marks, AfterTheDeathOfAllTheFirstStepOfTheNextRunCounts) {
  std::vector<Diary> diaries(2);
  for (Diary& diary : diaries) {
    diary = {{10, -1, 0}};
    walk(diary, 10, 0, 8, kMs);
    diary.push_back({12, -1, 100 * kMs});
    walk(diary, 12, 4, 10, 200 * kMs);
  }
  const Measured measured = measure(diaries, {-1, 5, kStrike.ns}, kNever, {});
  EXPECT_EQ(measured.lost, 4) << "steps 6 and 7 were still made after the fault";
  EXPECT_DOUBLE_EQ(measured.resumed_s.value(), 0.1945);
}

TEST(Marks, AfterTheDeathOfAShardTheLongestPauseEndsWithTheNextStep) {
  auto diaries = replaced();
  std::erase_if(diaries[1], [](const Stamp& stamp) { return stamp.step < 0 && stamp.pid == 12; });
  const Measured measured = measure(diaries, {-1, 4, 4 * kMs + 1, Role::kServer}, kNever, {});
  EXPECT_DOUBLE_EQ(measured.resumed_s.value(), 0.2 - 0.004000001) << "step 4 was on its way";
  EXPECT_EQ(measured.lost, 0);
}

TEST(Marks, RunThatNeverGoesOnHasNoResumption) {
  auto diaries = replaced();
  std::erase_if(diaries[1], [](const Stamp& stamp) { return stamp.ns > kStrike.ns; });
  const Measured measured = measure(diaries, kStrike, kNever, {});
  EXPECT_FALSE(measured.resumed_s);
  EXPECT_EQ(measured.after, 0);
}

TEST(Marks, DetectionIsTheAgentsFirstWordOnThatWorkerAfterTheFault) {
  const auto lost = [](std::int32_t rank, Role role, std::int64_t ns) {
    return Event{TimePoint(Duration(ns)), EventKind::kMemberLost, rank, 0, 0, static_cast<std::uint32_t>(role), 0, 9};
  };
  const std::vector<Event> agent{lost(1, Role::kWorker, 2 * kMs), lost(0, Role::kWorker, 6 * kMs),
                                 lost(1, Role::kServer, 7 * kMs), lost(1, Role::kWorker, 8 * kMs)};
  EXPECT_DOUBLE_EQ(measure(replaced(), kStrike, kNever, agent).detected_s.value(), 0.0025);
}

TEST(Marks, WhatFollowsTheNextFaultIsNotThisOnes) {
  const Measured measured = measure(replaced(), kStrike, 202 * kMs, {});
  EXPECT_EQ(measured.after, 3);
}

}  // namespace
}  // namespace tutti::testing
