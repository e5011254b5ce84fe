// SPDX-License-Identifier: Apache-2.0
#include "common/control/cause.h"

#include <gmock/gmock.h>

#include <csignal>

#include "tests/support/times.h"

namespace tutti {
namespace {

using How = Cause::How;
constexpr auto kPatience = std::chrono::seconds(1);

Cause cause(How how, std::int32_t rank = 1) {
  Cause cause;
  cause.how = how;
  cause.member = {Role::kWorker, rank};
  cause.host = "node2";
  cause.step = 37;
  return cause;
}

Cause killed(int signal, std::int32_t rank = 1) {
  Cause killed = cause(How::kExited, rank);
  killed.signal = signal;
  return killed;
}

Cause exited(int code, std::int32_t rank = 1) {
  Cause exited = cause(How::kExited, rank);
  exited.exit_code = code;
  return exited;
}

TEST(Cause, NamesRankHostSignalStepAndLastError) {
  Cause by_signal = killed(SIGKILL);
  EXPECT_EQ(by_signal.text(), "rank 1 on node2 was killed by signal 9 (Killed) at step 37");
  by_signal.last_error = "out of memory";
  EXPECT_EQ(by_signal.text(), "rank 1 on node2 was killed by signal 9 (Killed) at step 37: last error: out of memory");
  EXPECT_EQ(exited(3).text(), "rank 1 on node2 exited with code 3 at step 37");
}

TEST(Cause, HasAReasonInOneWord) {
  EXPECT_EQ(killed(SIGKILL).reason(), "killed");
  EXPECT_EQ(exited(3).reason(), "exited");
  EXPECT_EQ(cause(How::kReported).reason(), "reported");
  EXPECT_EQ(cause(How::kLost).reason(), "connection");
  EXPECT_EQ(cause(How::kLeftEarly).reason(), "left_early");
  Cause judged = cause(How::kLost);
  judged.judged = Cause::Judged::kSilent;
  EXPECT_EQ(judged.reason(), "silent");
  judged.judged = Cause::Judged::kStuck;
  EXPECT_EQ(judged.reason(), "stuck");
  judged.judged = Cause::Judged::kUnreachable;
  EXPECT_EQ(judged.reason(), "unreachable");
  judged.member.role = Role::kAgent;
  EXPECT_EQ(judged.reason(), "agent_lost") << "however";
  judged.member.role = Role::kServer;
  EXPECT_EQ(judged.reason(), "unreachable");
}

TEST(Cause, TellsWhatTheMemberWasDoing) {
  Cause waiting = killed(SIGKILL);
  waiting.doing = "had waited 1.204 s for bucket 3";
  waiting.last_error = "out of memory";
  EXPECT_EQ(waiting.text(),
            "rank 1 on node2 was killed by signal 9 (Killed) at step 37 (had waited 1.204 s for bucket 3): last error: "
            "out of memory");
}

TEST(Cause, TellsAMembersOwnWordsALossAndAnEarlyEnd) {
  Cause reported = cause(How::kReported);
  reported.last_error = "the loss is not a number";
  EXPECT_EQ(reported.text(), "rank 1 on node2 failed at step 37: the loss is not a number");
  EXPECT_EQ(cause(How::kLost).text(), "rank 1 on node2 was lost at step 37");
  EXPECT_EQ(cause(How::kLeftEarly).text(), "rank 1 on node2 ended without leaving the run at step 37");
}

TEST(Cause, TellsAStepOfWorkersOnly) {
  Cause early = killed(SIGSEGV);
  early.step = 0;
  EXPECT_EQ(early.text(), "rank 1 on node2 was killed by signal 11 (Segmentation fault) before its first step");
  Cause shard = cause(How::kLost);
  shard.member = {Role::kServer, 0};
  EXPECT_EQ(shard.text(), "shard 0 on node2 was lost");
  Cause agent = cause(How::kLost);
  agent.member = {Role::kAgent, 3};
  agent.host.clear();
  EXPECT_EQ(agent.text(), "agent 3 was lost");
}

TEST(Cause, HandsAnExitCodeFrom64To78OnAndCallsTheRestABug) {
  EXPECT_EQ(exited(65).run_exit_code(), 65);
  EXPECT_EQ(exited(78).run_exit_code(), 78);
  EXPECT_EQ(exited(1).run_exit_code(), 70);
  EXPECT_EQ(exited(79).run_exit_code(), 70);
  EXPECT_EQ(killed(SIGKILL).run_exit_code(), 70);
  EXPECT_EQ(cause(How::kLost).run_exit_code(), 69);
  EXPECT_EQ(cause(How::kLeftEarly).run_exit_code(), 70);
  Cause reported = cause(How::kReported);
  reported.code = Errc::kMismatch;
  EXPECT_EQ(reported.run_exit_code(), 78);
}

TEST(Verdict, IsDueAtOnceWhenTheCauseIsKnown) {
  Verdict verdict(kPatience);
  EXPECT_FALSE(verdict.is_due(at_millisecond(0)));
  verdict.consider(killed(SIGKILL), Certainty::kKnown, at_millisecond(0));
  EXPECT_TRUE(verdict.is_due(at_millisecond(0)));
  EXPECT_EQ(verdict.pronounce().signal, SIGKILL);
  EXPECT_FALSE(verdict.is_due(at_millisecond(0))) << "a cause is told once";
  EXPECT_FALSE(verdict.next_deadline());
}

TEST(Verdict, WaitsAMomentForABetterReport) {
  Verdict verdict(kPatience);
  verdict.consider(cause(How::kLost), Certainty::kLost, at_millisecond(0));
  EXPECT_FALSE(verdict.is_due(at_millisecond(999)));
  EXPECT_EQ(verdict.next_deadline(), at_millisecond(1000));
  verdict.consider(killed(SIGSEGV), Certainty::kKnown, at_millisecond(500));
  EXPECT_TRUE(verdict.is_due(at_millisecond(500)));
  EXPECT_EQ(verdict.pronounce().signal, SIGSEGV);
}

TEST(Verdict, TakesTheLossItselfWhenNothingBetterComes) {
  Verdict verdict(kPatience);
  verdict.consider(cause(How::kReported, 0), Certainty::kHearsay, at_millisecond(0));
  verdict.consider(cause(How::kLost, 2), Certainty::kLost, at_millisecond(800));
  EXPECT_TRUE(verdict.is_due(at_millisecond(1000))) << "better reports do not make the wait longer";
  EXPECT_EQ(verdict.pronounce().member.rank, 2);
}

TEST(Verdict, KeepsTheFirstOfEquals) {
  Verdict verdict(kPatience);
  verdict.consider(killed(SIGKILL, 1), Certainty::kKnown, at_millisecond(0));
  verdict.consider(killed(SIGSEGV, 2), Certainty::kKnown, at_millisecond(0));
  EXPECT_EQ(verdict.pronounce().member.rank, 1);
}

TEST(Verdict, LetsTheMissingReasonReplaceALossThatWasPronounced) {
  Verdict verdict(kPatience);
  verdict.consider(cause(How::kLost, 1), Certainty::kLost, at_millisecond(0));
  verdict.pronounce();
  verdict.consider(killed(SIGKILL, 1), Certainty::kKnown, at_millisecond(2000));
  EXPECT_EQ(verdict.cause()->signal, SIGKILL);
}

TEST(Verdict, NeverTakesTheConsequencesOfTheEndForItsCause) {
  for (const Cause& consequence :
       {killed(SIGTERM, 2), killed(SIGKILL, 2), killed(SIGABRT, 2), exited(69, 2), exited(1, 2)}) {
    Verdict verdict(kPatience);
    verdict.consider(cause(How::kLost, 1), Certainty::kLost, at_millisecond(0));
    verdict.pronounce();
    verdict.consider(consequence, Certainty::kKnown, at_millisecond(2000));
    EXPECT_EQ(verdict.cause()->member.rank, 1) << consequence.text();
  }
}

TEST(Verdict, LetsACrashOrASpecificErrorElsewhereReplaceALoss) {
  for (const Cause& origin : {killed(SIGSEGV, 2), exited(65, 2), exited(78, 2)}) {
    Verdict verdict(kPatience);
    verdict.consider(cause(How::kLost, 1), Certainty::kLost, at_millisecond(0));
    verdict.pronounce();
    verdict.consider(origin, Certainty::kKnown, at_millisecond(2000));
    EXPECT_EQ(verdict.cause()->member.rank, 2) << origin.text();
  }
}

}  // namespace
}  // namespace tutti
