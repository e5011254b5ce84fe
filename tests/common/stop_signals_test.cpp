// SPDX-License-Identifier: Apache-2.0
#include "common/stop_signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace tutti {
namespace {

using Handler = void (*)(int);

Handler handler_of(int signal) {
  struct sigaction present = {};
  sigaction(signal, nullptr, &present);
  return present.sa_handler;
}

TEST(StopSignals, TheFirstIsAWishAndOneThatFollowsAtOnceIsTheSame) {
  const StopSignals signals(nullptr);
  EXPECT_FALSE(signals.asked());
  ::raise(SIGUSR1);
  EXPECT_TRUE(signals.asked());
  ::raise(SIGTERM);  // handed on by a launcher
  EXPECT_TRUE(signals.asked());
}

TEST(StopSignals, AreAsBeforeWhenItIsGone) {
  { const StopSignals signals(nullptr); }
  EXPECT_EQ(handler_of(SIGTERM), SIG_DFL);
  EXPECT_EQ(handler_of(SIGUSR1), SIG_DFL);
  const StopSignals next(nullptr);
  EXPECT_FALSE(next.asked());
}

TEST(StopSignals, LeaveAHandlerOfTheProgramsOwnAlone) {
  ::signal(SIGUSR1, SIG_IGN);
  {
    const StopSignals signals(nullptr);
    EXPECT_EQ(handler_of(SIGUSR1), SIG_IGN);
    ::raise(SIGUSR1);
    EXPECT_FALSE(signals.asked());
    EXPECT_NE(handler_of(SIGTERM), SIG_DFL);
  }
  EXPECT_EQ(handler_of(SIGUSR1), SIG_IGN);
  ::signal(SIGUSR1, SIG_DFL);
}

TEST(StopSignals, HearTheAgentsWish) {
  auto page = StatusPage::create();
  ASSERT_TRUE(page);
  const StopSignals signals(&*page);
  EXPECT_FALSE(signals.asked());
  page->set_wish(StatusPage::Wish::kStop);
  EXPECT_TRUE(signals.asked());
}

TEST(StopSignalsDeathTest, ATermEndsAtOnceWhereTheAgentMeansIt) {
  EXPECT_EXIT(
      {
        auto page = StatusPage::create();  // here, since a forked child does not inherit one
        page->set_wish(StatusPage::Wish::kEnd);
        const StopSignals signals(&*page);
        ::raise(SIGTERM);
        ::_exit(0);
      },
      ::testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace tutti
