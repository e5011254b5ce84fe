// SPDX-License-Identifier: Apache-2.0
// How a run goes on after a loss.
#include <gmock/gmock.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

CoordinatorOptions tolerant(bool restartable = false) {
  CoordinatorOptions options = world(2, 1, 2);
  options.replacements = 3;
  options.restartable = restartable;
  options.homes = {{rank(0), 0}, {rank(1), 1}, {shard(0), 0}};
  return options;
}

/// Two workers and a shard under two agents; lost processes are replaced.
struct Tolerant : Driver {
  explicit Tolerant(bool restartable = false) : Driver(tolerant(restartable)) {
    join_all();
    for (const MemberId who : {rank(0), rank(1)}) progress(who, 37);
  }
  Regroup regrouped(MemberId who) { return told<Regroup>(who, FrameType::kRegroup); }
  Start started(MemberId agent) { return told<Start>(agent, FrameType::kStart); }
  MemberId evicted(MemberId agent) { return told<Evict>(agent, FrameType::kEvict).member; }
  void kill(MemberId agent, MemberId child) {
    closed(child);
    exited(agent, child, SIGKILL);
  }
};

TEST(CoordinatorReplace, NewGenerationBeginsWhenTheAgentSaysThatTheProcessIsGone) {
  Tolerant run;
  run.closed(rank(1));
  EXPECT_TRUE(run.told_nothing(rank(0))) << "a closed connection may be all that is lost";
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_EQ(run.machine.generation(), 2u);
  for (const MemberId survivor : {rank(0), shard(0)}) {
    const Regroup regroup = run.regrouped(survivor);
    EXPECT_EQ(regroup.generation, 2u);
    EXPECT_THAT(regroup.lost, ElementsAre(rank(1)));
    EXPECT_THAT(regroup.why, HasSubstr("rank 1 on node1 was killed by signal 9 (Killed) at step 37"));
  }
  const Start start = run.started(agent(1));
  EXPECT_EQ(start.member, rank(1));
  EXPECT_EQ(start.generation, 2u);
  EXPECT_TRUE(start.newcomer);
  EXPECT_THAT(run.notices, ElementsAre(HasSubstr("generation 2 begins")));
  EXPECT_FALSE(run.exit_code);
}

TEST(CoordinatorReplace, NewcomerMeetsTheOthersAndTheRunEndsWell) {
  Tolerant run;
  run.kill(agent(1), rank(1));
  (void)run.regrouped(rank(0));
  EXPECT_TRUE(run.join(rank(1)));
  const GatherKey meeting{GatherKey::Kind::kRegroup, 2, 0};
  run.contribute(rank(0), meeting, "lives");
  run.contribute(rank(1), meeting, "new");
  for (const MemberId who : {rank(0), rank(1)}) {
    EXPECT_THAT(run.reply(who, FrameType::kGathered).values, ElementsAre("lives", "new"));
  }
  for (const MemberId who : {rank(0), rank(1)}) run.leave(who);
  EXPECT_TRUE(run.reply(rank(1), FrameType::kLeft).ok);
  run.exited(agent(0), rank(0), 0);
  run.exited(agent(1), rank(1), 0);
  (void)run.started(agent(1));
  EXPECT_EQ(run.told<Shutdown>(agent(1), FrameType::kShutdown).exit_code, 0);
}

TEST(CoordinatorReplace, FramesOfTheLostGenerationAreDropped) {
  Tolerant run;
  run.kill(agent(1), rank(1));
  (void)run.regrouped(rank(0));
  EXPECT_TRUE(run.frame(rank(0), FrameType::kProgress, "", 99, /*generation=*/1));
  EXPECT_EQ(run.machine.stale_frames(), 1u);
}

TEST(CoordinatorReplace, ProcessOfTheOldGenerationCannotTakeThePlaceAgain) {
  Tolerant run;
  run.kill(agent(1), rank(1));
  FrameHeader stale;
  stale.type = FrameType::kJoin;
  stale.generation = 1;
  const std::string control = encode(Join{});
  const auto refused = run.machine.join(rank(1), stale, std::as_bytes(std::span(control)), run.now);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kMismatch);
  EXPECT_THAT(refused.error().text(), HasSubstr("generation 1"));
}

TEST(CoordinatorReplace, LossDuringTheRegroupingBeginsAnotherGeneration) {
  Tolerant run;
  run.kill(agent(1), rank(1));
  EXPECT_EQ(run.regrouped(rank(0)).generation, 2u);
  EXPECT_TRUE(run.join(rank(1)));
  run.contribute(rank(1), {GatherKey::Kind::kRegroup, 2, 0}, "new");
  run.kill(agent(0), shard(0));
  EXPECT_EQ(run.regrouped(rank(0)).generation, 3u);
  EXPECT_EQ(run.regrouped(rank(1)).generation, 3u) << "the newcomer, too";
  EXPECT_EQ(run.started(agent(0)).member, shard(0));
}

TEST(CoordinatorReplace, ProcessThatOnlyLostItsConnectionIsEndedFirst) {
  Tolerant run;
  run.closed(rank(1));
  run.pass(run.options.patience);
  EXPECT_EQ(run.evicted(agent(1)), rank(1));
  EXPECT_EQ(run.machine.generation(), 1u) << "two of one name there are never";
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_EQ(run.machine.generation(), 2u);
}

TEST(CoordinatorReplace, EndsTheRunWhenTheAgentCannotEndTheProcess) {
  Tolerant run;
  run.closed(rank(1));
  run.pass(run.options.patience);
  run.pass(run.options.end_timeout);
  EXPECT_EQ(run.told<Abort>(rank(0), FrameType::kAbort).guilty, rank(1));
}

TEST(CoordinatorReplace, TriesWithoutProgressArePausedAndCounted) {
  Tolerant run;
  const auto fail_again = [&] { run.exited(agent(1), rank(1), exit_status(1), "no such file"); };
  fail_again();
  EXPECT_EQ(run.started(agent(1)).generation, 2u) << "at once";
  fail_again();
  EXPECT_TRUE(run.told_nothing(agent(1)));
  run.pass(seconds(1));
  EXPECT_EQ(run.started(agent(1)).generation, 3u);
  fail_again();
  run.pass(seconds(1));
  EXPECT_TRUE(run.told_nothing(agent(1)));
  run.pass(seconds(1));
  EXPECT_EQ(run.started(agent(1)).generation, 4u);
  fail_again();
  EXPECT_EQ(run.told<Shutdown>(agent(1), FrameType::kShutdown).exit_code, 70);
  for (const MemberId host : {agent(0), agent(1)}) EXPECT_TRUE(run.frame(host, FrameType::kAgentDone, ""));
  EXPECT_EQ(run.exit_code, 70);
  EXPECT_THAT(run.lines, ElementsAre(HasSubstr("last error: no such file")));
}

TEST(CoordinatorReplace, ProgressBetweenLossesGivesAllTriesBack) {
  Tolerant run;
  for (std::uint64_t step = 40; step < 60; ++step) {
    run.kill(agent(1), rank(1));
    EXPECT_EQ(run.started(agent(1)).member, rank(1)) << "at once";
    EXPECT_TRUE(run.join(rank(1)));
    run.progress(rank(1), step);
  }
  EXPECT_FALSE(run.exit_code);
}

TEST(CoordinatorReplace, OwnWordsBeforeTheEndAreToldAsItsCause) {
  Tolerant run;
  run.report(rank(1), Errc::kInternal, "the dataset is empty");
  EXPECT_TRUE(run.told_nothing(rank(0)));
  run.exited(agent(1), rank(1), exit_status(70));
  EXPECT_THAT(run.regrouped(rank(0)).why, HasSubstr("the dataset is empty"));
}

TEST(CoordinatorReplace, WhatWouldFailTheSameWayAgainEndsTheRun) {
  for (const int code : {64, 65, 74, 75, 77, 78}) {
    Tolerant run;
    run.exited(agent(1), rank(1), exit_status(code));
    EXPECT_EQ(run.told<Shutdown>(agent(0), FrameType::kShutdown).exit_code, code);
  }
}

TEST(CoordinatorReplace, AllBeginAgainBeforeTheSecondStep) {
  Driver run(tolerant());
  run.join_all();
  run.exited(agent(1), rank(1), SIGKILL);
  for (const MemberId who : {rank(0), shard(0)}) (void)run.told<Regroup>(who, FrameType::kRegroup);
  (void)run.told<Start>(agent(1), FrameType::kStart);
  run.say(rank(0), FrameType::kRestart, Restart{"is not in its loop yet"});
  EXPECT_EQ(run.told<Evict>(agent(0), FrameType::kEvict).member, rank(0));
  EXPECT_EQ(run.told<Evict>(agent(0), FrameType::kEvict).member, shard(0));
  EXPECT_EQ(run.told<Evict>(agent(1), FrameType::kEvict).member, rank(1));
  run.exited(agent(0), rank(0), SIGKILL);
  run.exited(agent(0), shard(0), SIGKILL);
  EXPECT_TRUE(run.told_nothing(agent(0))) << "one is still there";
  run.exited(agent(1), rank(1), SIGKILL);
  for (const MemberId who : {rank(0), shard(0)}) {
    const Start start = run.told<Start>(agent(0), FrameType::kStart);
    EXPECT_EQ(start.member, who);
    EXPECT_FALSE(start.newcomer);
    EXPECT_EQ(start.generation, run.machine.generation());
  }
  EXPECT_EQ(run.told<Start>(agent(1), FrameType::kStart).member, rank(1));
  for (const MemberId who : {shard(0), rank(0), rank(1)}) EXPECT_TRUE(run.join(who));
}

// The simulator found both: the run waited without an end for children that nobody ended.
TEST(CoordinatorReplace, AgentThatJoinsWhileAllBeginAgainEndsItsChildren) {
  Driver run(tolerant());
  for (const MemberId who : {agent(0), rank(0), shard(0)}) EXPECT_TRUE(run.join(who));
  run.exited(agent(0), shard(0), SIGKILL);
  (void)run.told<Start>(agent(0), FrameType::kStart);
  run.say(rank(0), FrameType::kRestart, Restart{"is in its first step"});
  EXPECT_TRUE(run.join(agent(1)));
  EXPECT_EQ(run.told<Evict>(agent(1), FrameType::kEvict).member, rank(1));
}

TEST(CoordinatorReplace, AgentThatIsLostWhileAllBeginAgainEndsTheRun) {
  Driver run(tolerant());
  run.join_all();
  run.exited(agent(0), shard(0), SIGKILL);
  run.say(rank(0), FrameType::kRestart, Restart{"is in its first step"});
  EXPECT_THAT(run.notices.back(), HasSubstr("all workers begin again"));
  run.closed(agent(1));
  (void)run.told<Regroup>(rank(0), FrameType::kRegroup);
  EXPECT_EQ(run.told<Abort>(rank(0), FrameType::kAbort).guilty, agent(1));
}

// Its coordinator once planned starts that nobody carried out, and ticked without an end.
TEST(CoordinatorReplace, RunThatEndsWhileAllBeginAgainBeginsNothing) {
  Driver run(tolerant());
  run.join_all();
  run.exited(agent(0), shard(0), SIGKILL);
  run.say(rank(0), FrameType::kRestart, Restart{"is in its first step"});
  run.closed(agent(1));
  for (const MemberId who : {rank(0), rank(1)}) run.exited(agent(0), who, SIGKILL);
  const auto next = run.machine.next_deadline();
  EXPECT_TRUE(!next || *next > run.now);
}

// Others that joined after the loss once waited for a newcomer that waited for them.
TEST(CoordinatorReplace, ProcessThatIsReplacedBeforeTheFirstStepBeginsLikeTheOthers) {
  Driver run(tolerant());
  for (const MemberId who : {agent(0), agent(1), rank(1)}) EXPECT_TRUE(run.join(who));
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_FALSE(run.told<Start>(agent(1), FrameType::kStart).newcomer);
  EXPECT_TRUE(run.join(rank(0))) << "in the generation that began before it came";
}

TEST(CoordinatorReplace, WithoutACheckpointALateRestartIsTheEndWithTheFirstCause) {
  Tolerant run;
  run.kill(agent(1), rank(1));
  (void)run.regrouped(rank(0));
  run.say(rank(0), FrameType::kRestart, Restart{"cannot go on with gloo"});
  const Abort abort = run.told<Abort>(rank(0), FrameType::kAbort);
  EXPECT_EQ(abort.guilty, rank(1));
  EXPECT_THAT(abort.text, HasSubstr("signal 9"));
  EXPECT_EQ(run.told<Shutdown>(agent(0), FrameType::kShutdown).exit_code, 69);
}

TEST(CoordinatorReplace, WithACheckpointAllBeginAgainAtAnyStep) {
  Tolerant run(/*restartable=*/true);
  run.kill(agent(1), rank(1));
  (void)run.regrouped(rank(0));
  run.say(rank(0), FrameType::kRestart, Restart{"cannot go on with gloo"});
  EXPECT_EQ(run.evicted(agent(0)), rank(0));
  EXPECT_THAT(run.notices.back(), HasSubstr("all workers begin again: rank 0 cannot go on with gloo"));
}

TEST(CoordinatorReplace, LossOfAnAgentStaysTheEnd) {
  Tolerant run;
  run.closed(agent(1));
  EXPECT_EQ(run.told<Abort>(rank(0), FrameType::kAbort).guilty, agent(1));
  EXPECT_THAT(run.notices, IsEmpty());
}

}  // namespace
}  // namespace tutti::testing
