// SPDX-License-Identifier: Apache-2.0
// How a run ends: well, or with its first cause.
#include <gmock/gmock.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Two workers and a shard under two agents.
struct Managed : Driver {
  Managed() : Driver(world(2, 1, 2)) { join_all(); }
  void expect_abort(MemberId who, const std::string& text) {
    EXPECT_EQ(told<Abort>(who, FrameType::kAbort).text, text);
  }
  void expect_shutdown(int code) {
    for (const MemberId host : {agent(0), agent(1)}) {
      EXPECT_EQ(told<Shutdown>(host, FrameType::kShutdown).exit_code, code);
    }
  }
  void agents_answer() {
    EXPECT_FALSE(exit_code);
    for (const MemberId host : {agent(0), agent(1)}) EXPECT_TRUE(frame(host, FrameType::kAgentDone, ""));
  }
};

/// Two workers, one of which holds the coordinator.
struct Embedded : Driver {
  Embedded() : Driver(world(2)) { join_all(); }
};

// --- the good end

TEST(CoordinatorEnd, LetsEverybodyLeaveWhenAllWorkersSaidGoodbye) {
  Embedded run;
  run.leave(rank(0));
  EXPECT_TRUE(run.told_nothing(rank(0)));
  run.leave(rank(1));
  EXPECT_TRUE(run.reply(rank(0), FrameType::kLeft).ok);
  EXPECT_TRUE(run.reply(rank(1), FrameType::kLeft).ok);
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.lines, IsEmpty());
  EXPECT_FALSE(run.machine.next_deadline()) << "nothing is left to wait for";
  run.closed(rank(0));
  run.closed(rank(1));
}

TEST(CoordinatorEnd, NamesWhoseGoodbyeIsMissing) {
  Embedded run;
  run.progress(rank(1), 8);
  run.leave(rank(0), seconds(3));
  run.pass(seconds(3));
  EXPECT_EQ(run.reply(rank(0), FrameType::kLeft).text, "waiting for the goodbye of rank 1 on node1 (last at step 8)");
  run.leave(rank(1));
  EXPECT_EQ(run.exit_code, 0) << "the first goodbye still counts";
}

TEST(CoordinatorEnd, ManagedRunEndsWhenAllWorkersExitedAndTheAgentsAnswered) {
  Managed run;
  run.leave(shard(0));
  run.leave(rank(0));
  run.leave(rank(1));
  for (const MemberId who : {rank(0), rank(1), shard(0)}) EXPECT_TRUE(run.reply(who, FrameType::kLeft).ok);
  run.closed(rank(0));
  run.exited(agent(0), rank(0), 0);
  EXPECT_TRUE(run.told_nothing(agent(0)));
  run.exited(agent(1), rank(1), 0);
  run.expect_shutdown(0);
  run.exited(agent(0), shard(0), SIGTERM);
  run.closed(shard(0));
  run.agents_answer();
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.lines, IsEmpty());
}

TEST(CoordinatorEnd, WorkersThatWereAskedToStopEndTheRunWithTheirCode) {
  Managed run;
  run.leave(shard(0));
  run.leave(rank(0));
  run.leave(rank(1));
  for (const MemberId who : {rank(0), rank(1), shard(0)}) EXPECT_TRUE(run.reply(who, FrameType::kLeft).ok);
  run.exited(agent(0), rank(0), W_EXITCODE(75, 0));
  EXPECT_TRUE(run.told_nothing(agent(0))) << "rank 1 may still be at its end";
  run.exited(agent(1), rank(1), W_EXITCODE(75, 0));
  run.expect_shutdown(75);
  run.agents_answer();
  EXPECT_EQ(run.exit_code, 75);
  EXPECT_THAT(run.lines, IsEmpty());
}

TEST(CoordinatorEnd, PlainProgramThatNeverJoinsEndsWithItsExitCodesAlone) {
  Driver run(world(2, 0, 1));
  EXPECT_TRUE(run.join(agent(0)));
  run.exited(agent(0), rank(1), 0);
  run.exited(agent(0), rank(0), 0);
  EXPECT_EQ(run.told<Shutdown>(agent(0), FrameType::kShutdown).exit_code, 0);
  EXPECT_TRUE(run.frame(agent(0), FrameType::kAgentDone, ""));
  EXPECT_EQ(run.exit_code, 0);
}

TEST(CoordinatorEnd, DoesNotWaitForeverForAnAgentThatDoesNotAnswer) {
  Managed run;
  run.exited(agent(0), rank(0), SIGSEGV);
  EXPECT_TRUE(run.frame(agent(0), FrameType::kAgentDone, ""));
  EXPECT_FALSE(run.exit_code);
  run.pass(run.options.end_timeout);
  EXPECT_EQ(run.exit_code, 70);
}

// --- the first cause

TEST(CoordinatorEnd, ChildKilledByASignalIsTheCauseAndEverybodyIsToldAtOnce) {
  Managed run;
  run.progress(rank(1), 37);
  run.exited(agent(1), rank(1), SIGKILL, "out of memory");
  const std::string text = "rank 1 on node1 was killed by signal 9 (Killed) at step 37: last error: out of memory";
  const auto abort = run.told<Abort>(rank(0), FrameType::kAbort);
  EXPECT_EQ(abort.text, text);
  EXPECT_EQ(abort.code, Errc::kPeerLost);
  EXPECT_EQ(abort.guilty, rank(1));
  run.expect_abort(shard(0), text);
  EXPECT_TRUE(run.told_nothing(rank(1)));
  run.expect_shutdown(70);
  EXPECT_THAT(run.lines, IsEmpty());
  run.agents_answer();
  EXPECT_THAT(run.lines, ElementsAre(text));
  EXPECT_EQ(run.exit_code, 70);
}

TEST(CoordinatorEnd, ChildsOwnExitCodeIsTheRuns) {
  Managed run;
  run.exited(agent(0), rank(0), exit_status(65), "the loss is not a number");
  run.expect_shutdown(65);
  run.agents_answer();
  EXPECT_EQ(run.exit_code, 65);
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("rank 0 on node0 exited with code 65")));
}

TEST(CoordinatorEnd, ClosedConnectionWaitsForTheAgentsReason) {
  Managed run;
  run.closed(rank(1));
  EXPECT_TRUE(run.told_nothing(rank(0)));
  EXPECT_EQ(run.machine.next_deadline(), run.now + seconds(1));
  run.pass(milliseconds(10));
  run.exited(agent(1), rank(1), SIGSEGV);
  run.expect_shutdown(70);
  run.agents_answer();
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("signal 11")));
}

TEST(CoordinatorEnd, ClosedConnectionIsTheCauseAfterASecondWithoutAReason) {
  Managed run;
  run.progress(rank(1), 4);
  run.closed(rank(1));
  run.pass(seconds(1));
  run.expect_abort(rank(0), "rank 1 on node1 was lost at step 4: the connection broke");
  run.expect_shutdown(69);
  run.agents_answer();
  EXPECT_EQ(run.exit_code, 69);
}

TEST(CoordinatorEnd, ReasonThatComesWhileShuttingDownReplacesALoss) {
  Managed run;
  run.closed(rank(1));
  run.pass(seconds(1));
  run.exited(agent(1), rank(1), SIGKILL);
  run.agents_answer();
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("rank 1 on node1 was killed by signal 9")));
  EXPECT_EQ(run.exit_code, 70);
}

TEST(CoordinatorEnd, FailuresThatFollowNeverReplaceTheCause) {
  Managed run;
  run.exited(agent(1), rank(1), SIGKILL);
  run.closed(rank(0));
  run.exited(agent(0), rank(0), exit_status(69), "peer lost");
  run.report(shard(0), Errc::kBadData, "a torn frame");
  run.exited(agent(0), shard(0), SIGTERM);
  run.agents_answer();
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("rank 1 on node1 was killed by signal 9")));
}

TEST(CoordinatorEnd, ExitBecauseAPeerWasLostWaitsForThatPeersOwnEnd) {
  Managed run;
  run.exited(agent(0), rank(0), exit_status(69), "rank 1 closed the connection");
  EXPECT_TRUE(run.told_nothing(agent(0)));
  run.pass(milliseconds(100));
  run.exited(agent(1), rank(1), SIGBUS);
  run.expect_shutdown(70);
  run.agents_answer();
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("rank 1 on node1 was killed by signal 7")));
}

TEST(CoordinatorEnd, MembersOwnWordsAreTheCauseAndItsEndAddsNothing) {
  Managed run;
  EXPECT_TRUE(run.frame(rank(0), FrameType::kAbort, encode(Abort{Errc::kMismatch, rank(0), "another model"}), 3));
  const auto abort = run.told<Abort>(rank(1), FrameType::kAbort);
  EXPECT_EQ(abort.code, Errc::kMismatch);
  EXPECT_EQ(abort.text, "rank 0 on node0 failed at step 3: another model");
  run.exited(agent(0), rank(0), SIGABRT, "terminate called");
  run.expect_shutdown(78);
  run.agents_answer();
  EXPECT_EQ(run.exit_code, 78);
  EXPECT_THAT(run.lines, ElementsAre("rank 0 on node0 failed at step 3: another model"));
}

TEST(CoordinatorEnd, ReportedTimeoutWaitsForBetterAndThenStands) {
  Managed run;
  run.report(rank(0), Errc::kTimeout, "waiting for rank 1 on node1 (last at step 4)");
  EXPECT_TRUE(run.told_nothing(rank(1)));
  run.exited(agent(0), rank(0), SIGABRT);
  run.closed(rank(0));
  EXPECT_TRUE(run.told_nothing(rank(1))) << "the end of one that spoke adds nothing";
  run.pass(seconds(1));
  run.expect_abort(rank(1),
                   "rank 0 on node0 failed before its first step: waiting for rank 1 on node1 (last at step 4)");
  run.expect_shutdown(69);
}

TEST(CoordinatorEnd, WorkerThatExitsWithoutLeavingIsAFailure) {
  Managed run;
  run.progress(rank(1), 5);
  run.exited(agent(1), rank(1), 0);
  run.expect_abort(rank(0), "rank 1 on node1 ended without leaving the run at step 5");
  run.expect_shutdown(70);
}

TEST(CoordinatorEnd, WorkerThatExitsBeforeItEverJoinedIsAFailureWhenOthersJoined) {
  Driver run(world(2, 0, 1));
  EXPECT_TRUE(run.join(agent(0)));
  EXPECT_TRUE(run.join(rank(0)));
  run.exited(agent(0), rank(1), 0);
  EXPECT_THAT(run.told<Abort>(rank(0), FrameType::kAbort).text, HasSubstr("rank 1 on node0 ended without leaving"));
}

TEST(CoordinatorEnd, LostAgentIsTheCauseAtOnceAndCountsAsAnswered) {
  Managed run;
  run.closed(rank(1));
  run.closed(agent(1));
  EXPECT_EQ(run.told<Shutdown>(agent(0), FrameType::kShutdown).exit_code, 69);
  run.expect_abort(rank(0), "agent 1 on node1 was lost: the connection broke");
  EXPECT_TRUE(run.frame(agent(0), FrameType::kAgentDone, ""));
  EXPECT_EQ(run.exit_code, 69);
}

TEST(CoordinatorEnd, ShardIsNotMissedOnceAllWorkersHaveLeft) {
  Managed run;
  run.leave(rank(0));
  run.leave(rank(1));
  run.exited(agent(0), shard(0), SIGSEGV);
  run.closed(shard(0));
  EXPECT_TRUE(run.told_nothing(agent(0)));
}

TEST(CoordinatorEnd, ShardsEndIsACauseWhileWorkersNeedIt) {
  Managed run;
  run.exited(agent(0), shard(0), exit_status(74), "disk full");
  run.expect_abort(rank(0), "shard 0 on node0 exited with code 74: last error: disk full");
  run.expect_shutdown(74);
}

TEST(CoordinatorEnd, CrashAfterTheGoodbyeIsStillACrash) {
  Managed run;
  run.leave(rank(0));
  run.leave(rank(1));
  run.exited(agent(1), rank(1), SIGSEGV);
  run.expect_shutdown(70);
}

// --- embedded

TEST(CoordinatorEnd, EmbeddedLossIsTheCauseAtOnceAndTheRunEndsWhenAllAreGone) {
  Embedded run;
  run.progress(rank(1), 12);
  run.closed(rank(1));
  EXPECT_EQ(run.told<Abort>(rank(0), FrameType::kAbort).text,
            "rank 1 on node1 was lost at step 12: the connection broke");
  EXPECT_FALSE(run.exit_code);
  run.closed(rank(0));
  EXPECT_EQ(run.exit_code, 69);
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("rank 1 on node1 was lost")));
}

TEST(CoordinatorEnd, EmbeddedHearsayGivesWayToTheLossItFollowsFrom) {
  Embedded run;
  run.report(rank(0), Errc::kCollective, "MPI_Allreduce failed");
  EXPECT_FALSE(run.exit_code);
  run.closed(rank(0));
  run.closed(rank(1));
  EXPECT_EQ(run.exit_code, 69);
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("rank 1 on node1 was lost")));
}

TEST(CoordinatorEnd, EmbeddedShardsLossWaitsForTheRankItLivedIn) {
  Driver run(world(2, 1));
  run.join_all();
  run.closed(shard(0));
  EXPECT_TRUE(run.told_nothing(rank(0)));
  run.closed(rank(1));
  EXPECT_THAT(run.told<Abort>(rank(0), FrameType::kAbort).text, HasSubstr("rank 1 on node1 was lost"));
}

// --- joining a run that ends

TEST(CoordinatorEnd, LateWorkerLearnsTheCauseAndLateAgentIsShutDown) {
  Driver run(world(2, 0, 2));
  EXPECT_TRUE(run.join(agent(0)));
  EXPECT_TRUE(run.join(rank(0)));
  run.exited(agent(0), rank(0), SIGKILL);
  EXPECT_EQ(run.told<Shutdown>(agent(0), FrameType::kShutdown).exit_code, 70);
  const auto refused = run.join(rank(1));
  EXPECT_EQ(refused.error().code, Errc::kPeerLost);
  EXPECT_THAT(refused.error().message, HasSubstr("rank 0 on node0 was killed by signal 9"));
  EXPECT_TRUE(run.join(agent(1)));
  EXPECT_EQ(run.told<Shutdown>(agent(1), FrameType::kShutdown).exit_code, 70);
}

}  // namespace
}  // namespace tutti::testing
