// SPDX-License-Identifier: Apache-2.0
#include "ps/pending.h"

#include <gtest/gtest.h>

#include <thread>

namespace tutti::ps {
namespace {

constexpr Pending::Key kKey = 3;

Deadline soon() {
  return SteadyClock().now() + std::chrono::seconds(30);
}
Deadline past() {
  return SteadyClock().now() - std::chrono::seconds(1);
}

TEST(Pending, WaitsForNothingWhenNothingWasBegun) {
  Pending pending;
  const auto done = pending.wait(kKey, past());
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done);
}

TEST(Pending, WaitsUntilAllThatWasBegunHasEnded) {
  Pending pending;
  ASSERT_TRUE(pending.begin(kKey, 2));
  std::thread loop([&] {
    pending.end(kKey);
    pending.end(kKey);
  });
  const auto done = pending.wait(kKey, soon());
  loop.join();
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done);
}

TEST(Pending, SaysWhenTheDeadlinePassed) {
  Pending pending;
  ASSERT_TRUE(pending.begin(kKey));
  const auto done = pending.wait(kKey, past());
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done);
}

TEST(Pending, DoesNotWaitForOtherKeys) {
  Pending pending;
  ASSERT_TRUE(pending.begin(kKey + 1));
  EXPECT_TRUE(*pending.wait(kKey, past()));
}

TEST(Pending, EndsEveryWaitWithTheFirstFailure) {
  Pending pending;
  ASSERT_TRUE(pending.begin(kKey));
  std::thread other([&] {
    pending.fail(fail(Errc::kPeerLost, "the first"));
    pending.fail(fail(Errc::kTimeout, "the second"));
  });
  const auto done = pending.wait(kKey, soon());
  other.join();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().text(), "the first");
  EXPECT_EQ(pending.wait(kKey + 1, soon()).error().code, Errc::kPeerLost);
  EXPECT_EQ(pending.begin(kKey).error().code, Errc::kPeerLost);
  EXPECT_EQ(pending.poll().error().code, Errc::kPeerLost);
}

TEST(Pending, ForgetsTheNoteWhenTheKeyBeginsAnew) {
  Pending pending;
  ASSERT_TRUE(pending.begin(kKey));
  pending.set_note(kKey, "waits for rank 1");
  EXPECT_EQ(pending.note(kKey), "waits for rank 1");
  pending.end(kKey);
  ASSERT_TRUE(pending.begin(kKey));
  EXPECT_EQ(pending.note(kKey), "");
}

}  // namespace
}  // namespace tutti::ps
