// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/waits_caused.h"

#include <gtest/gtest.h>

namespace tutti::monitor {
namespace {

using namespace std::chrono_literals;

TEST(WaitsCaused, ByTheOneThatWaitsLeastAreWhatTheOthersWaitMoreThanIt) {
  WaitsCaused waits;
  for (const std::uint64_t step : {0, 10, 20}) {
    waits.heard(0, step, step * 10ms, 3);
    waits.heard(1, step, step * 2ms, 3);
    waits.heard(2, step, step * 7ms, 3);
  }
  EXPECT_EQ(waits.caused_by(1), 20 * (8ms + 5ms));
  EXPECT_EQ(waits.caused_by(0), 0ms);
  EXPECT_EQ(waits.caused_by(2), 0ms);
  EXPECT_EQ(waits.caused_by(7), 0ms);
}

TEST(WaitsCaused, AreExactThoughEachTellsAtMomentsOfItsOwn) {
  WaitsCaused waits;
  for (std::uint64_t round = 0; round < 100; ++round) {
    waits.heard(0, 10 * round, 10 * round * 10ms, 2);
    if (round > 0) waits.heard(1, 10 * round + 5, (10 * round + 5) * 2ms, 2);
    waits.heard(0, 10 * round + 3, (10 * round + 3) * 10ms, 2);
  }
  EXPECT_EQ(waits.caused_by(1), (993 - 15) * 8ms) << "from the first step that both told of to the last";
  EXPECT_EQ(waits.caused_by(0), 0ms);
}

TEST(WaitsCaused, ChangeHandsWhenAnotherBecomesTheSlowOne) {
  WaitsCaused waits;
  waits.heard(0, 0, 0ms, 2);
  waits.heard(1, 0, 0ms, 2);
  waits.heard(0, 10, 100ms, 2);
  waits.heard(1, 10, 0ms, 2);
  waits.heard(0, 20, 101ms, 2);
  waits.heard(1, 20, 51ms, 2);
  EXPECT_EQ(waits.caused_by(1), 100ms);
  EXPECT_EQ(waits.caused_by(0), 50ms);
}

TEST(WaitsCaused, AreNobodysBeforeAllHaveToldAndInAWorldOfOne) {
  WaitsCaused waits;
  for (const std::uint64_t step : {0, 10, 20}) {
    waits.heard(0, step, step * 10ms, 3);
    waits.heard(1, step, 0ms, 3);
  }
  EXPECT_EQ(waits.caused_by(1), 0ms) << "the third may have waited less";
  WaitsCaused alone;
  for (const std::uint64_t step : {0, 10, 20}) alone.heard(0, step, step * 10ms, 1);
  EXPECT_EQ(alone.caused_by(0), 0ms);
}

TEST(WaitsCaused, OfARankThatIsReplacedGoOnWhereItsSuccessorBegins) {
  WaitsCaused waits;
  for (const std::uint64_t step : {0, 10, 20}) {
    waits.heard(0, step, step * 10ms, 2);
    waits.heard(1, step, 0ms, 2);
  }
  EXPECT_EQ(waits.caused_by(1), 200ms);
  waits.forget(1);
  waits.heard(0, 21, 5s, 2);  // it has waited for the newcomer
  waits.heard(1, 21, 0ms, 2);
  EXPECT_EQ(waits.caused_by(1), 200ms) << "what lies between the two processes is nobody's";
  waits.heard(0, 31, 5s + 50ms, 2);
  waits.heard(1, 31, 0ms, 2);
  EXPECT_EQ(waits.caused_by(1), 250ms);
}

TEST(WaitsCaused, OfARunThatWentBackAreCountedOnceMore) {
  WaitsCaused waits;
  for (const std::uint64_t step : {0, 10, 20}) {
    waits.heard(0, step, step * 10ms, 2);
    waits.heard(1, step, 0ms, 2);
  }
  for (const std::uint64_t step : {15, 25}) {
    waits.heard(0, step, step * 10ms, 2);
    waits.heard(1, step, 0ms, 2);
  }
  EXPECT_EQ(waits.caused_by(1), 300ms);
}

}  // namespace
}  // namespace tutti::monitor
