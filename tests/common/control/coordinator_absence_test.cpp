// SPDX-License-Identifier: Apache-2.0
// A member whose connection breaks keeps its place for a while; one that its peers do not reach loses it.
#include <gmock/gmock.h>

#include "common/control/absence.h"
#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

CoordinatorOptions patient() {
  CoordinatorOptions options = world(3, 2, 2);
  options.replacements = 3;
  options.timeout = options.absence = seconds(3);
  options.homes = {{rank(0), 0}, {rank(1), 0}, {rank(2), 1}, {shard(0), 0}, {shard(1), 1}};
  return options;
}

/// Three workers at step 37, two shards, two agents.
struct Patient : Driver {
  Patient() : Driver(patient()) {
    join_all();
    for (int i = 0; i < 3; ++i) progress(rank(i), 37);
  }
  void accuse(MemberId by, std::vector<MemberId> peers, Duration silent) {
    Unreachable message;
    for (const MemberId& peer : peers) message.peers.push_back({peer, static_cast<std::uint64_t>(silent.count())});
    say(by, FrameType::kUnreachable, message);
  }
  void expect_evicted(MemberId who, MemberId home) {
    EXPECT_EQ(told<Evict>(home, FrameType::kEvict).member, who);
    EXPECT_TRUE(told_nothing(home));
  }
};

TEST(CoordinatorAbsence, WhoComesAgainInTimeKeepsItsPlace) {
  Patient run;
  run.closed(rank(2));
  run.pass(milliseconds(2900));
  run.contribute(rank(0), "a");
  run.contribute(rank(1), "b");
  EXPECT_TRUE(run.come_again(rank(2)));
  run.contribute(rank(2), "c");
  EXPECT_EQ(run.reply(rank(2), FrameType::kGathered).values.size(), 3u);
  run.pass(seconds(60));
  EXPECT_EQ(run.machine.generation(), 1u);
  EXPECT_THAT(run.notices, IsEmpty());
}

TEST(CoordinatorAbsence, WhatIsSaidToTheAbsentIsHandedToTheShell) {
  Patient run;
  run.closed(rank(2));
  run.contribute(rank(2 - 1), "b");
  run.exited(agent(0), rank(0), SIGKILL);
  EXPECT_EQ(run.told<Regroup>(rank(2), FrameType::kRegroup).generation, 2u);
}

TEST(CoordinatorAbsence, WhoDoesNotComeAgainIsEndedByItsAgentAndReplaced) {
  Patient run;
  run.closed(rank(2));
  run.pass(seconds(3));
  run.expect_evicted(rank(2), agent(1));
  EXPECT_FALSE(run.come_again(rank(2))) << "it was given up";
  run.exited(agent(1), rank(2), SIGKILL);
  EXPECT_THAT(run.told<Regroup>(rank(0), FrameType::kRegroup).why,
              HasSubstr("rank 2 on node2 was lost at step 37: its connection to the coordinator was not made again for "
                        "3.0 s: the connection broke"));
  EXPECT_EQ(run.told<Start>(agent(1), FrameType::kStart).member, rank(2));
  EXPECT_FALSE(run.come_again(rank(2), 1)) << "of an older generation";
  EXPECT_FALSE(run.come_again(rank(2))) << "the new process has not joined yet";
}

TEST(CoordinatorAbsence, TimeCountsFromWhenTheSilentOneWasHeardLast) {
  Patient run;
  run.fell_silent(rank(2), milliseconds(1500));
  run.pass(milliseconds(1400));
  EXPECT_TRUE(run.told_nothing(agent(1)));
  run.pass(milliseconds(100));
  run.expect_evicted(rank(2), agent(1));
  run.exited(agent(1), rank(2), SIGKILL);
  EXPECT_THAT(run.told<Regroup>(rank(0), FrameType::kRegroup).why, HasSubstr("it has not been heard of for 3.0 s"));
}

TEST(CoordinatorAbsence, EndOfTheProcessIsKnownAtOnce) {
  Patient run;
  run.closed(rank(2));
  run.exited(agent(1), rank(2), SIGKILL);
  EXPECT_EQ(run.machine.generation(), 2u);
  EXPECT_EQ(run.told<Start>(agent(1), FrameType::kStart).member, rank(2));
  EXPECT_TRUE(run.join(rank(2)));
  run.pass(seconds(60));
  EXPECT_EQ(run.machine.generation(), 2u) << "the absence was the lost one's";
}

TEST(CoordinatorAbsence, NobodyIsLostWhereNobodyIsHeard) {
  Patient run;
  for (const MemberId who : {rank(0), rank(1), rank(2), shard(0), shard(1), agent(0), agent(1)})
    run.fell_silent(who, milliseconds(1500));
  run.pass(seconds(30));
  for (const MemberId who : {agent(0), agent(1)}) EXPECT_TRUE(run.told_nothing(who));
  for (const MemberId who : {agent(0), agent(1), shard(0), shard(1), rank(2), rank(1), rank(0)})
    EXPECT_TRUE(run.come_again(who));
  EXPECT_EQ(run.machine.generation(), 1u);
  EXPECT_THAT(run.notices, IsEmpty());
}

TEST(CoordinatorAbsence, ButNotForEver) {
  Patient run;
  for (const MemberId who : {rank(0), rank(1), rank(2), shard(0), shard(1)}) run.fell_silent(who, seconds(0));
  run.pass(kCutOffTimeouts * seconds(3));
  EXPECT_EQ(run.told<Evict>(agent(0), FrameType::kEvict).member.role, Role::kWorker);
}

TEST(CoordinatorAbsence, AgentThatComesAgainKeepsItsChildren) {
  Patient run;
  run.closed(agent(1));
  EXPECT_TRUE(run.come_again(agent(1)));
  run.pass(seconds(60));
  EXPECT_FALSE(run.exit_code);
  run.closed(agent(1));
  run.pass(seconds(1));
  EXPECT_THAT(run.told<Abort>(rank(0), FrameType::kAbort).text, HasSubstr("agent 1 on node1 was lost"));
}

TEST(CoordinatorAbsence, WhoIsAbsentWhenTheRunEndsMayComeAndHearIt) {
  Patient run;
  run.closed(rank(1));
  run.report(rank(0), Errc::kBadData, "a NaN");
  run.report(rank(0), Errc::kBadData, "a NaN");
  EXPECT_EQ(run.told<Abort>(rank(1), FrameType::kAbort).guilty, rank(0));
  EXPECT_TRUE(run.come_again(rank(1)));
}

TEST(CoordinatorAbsence, WithoutPatienceAConnectionThatBreaksIsALoss) {
  CoordinatorOptions options = patient();
  options.absence = {};
  Driver run(options);
  run.join_all();
  run.closed(rank(2));
  run.pass(options.patience);
  EXPECT_EQ(run.told<Evict>(agent(1), FrameType::kEvict).member, rank(2));
}

TEST(CoordinatorAbsence, WorkerThatNoShardReachesIsReplacedThoughTheCoordinatorHearsIt) {
  Patient run;
  for (const MemberId by : {shard(0), shard(1)}) run.accuse(by, {rank(2)}, milliseconds(1500));
  run.accuse(rank(2), {shard(0), shard(1)}, milliseconds(1500));
  EXPECT_TRUE(run.told_nothing(agent(1)));
  run.accuse(rank(2), {shard(0), shard(1)}, seconds(3));
  run.expect_evicted(rank(2), agent(1));
  run.accuse(shard(0), {rank(2)}, seconds(3));
  EXPECT_TRUE(run.told_nothing(agent(1))) << "once is enough";
  run.exited(agent(1), rank(2), SIGKILL);
  EXPECT_THAT(run.told<Regroup>(rank(0), FrameType::kRegroup).why,
              HasSubstr("it and shard 0, shard 1 have not heard of each other for 3.0 s"));
}

TEST(CoordinatorAbsence, WhoWaitedInVainIsNotBlamedForTheOneThatCannotBeReached) {
  Patient run;
  for (const MemberId by : {shard(0), shard(1)}) run.accuse(by, {rank(2)}, milliseconds(1500));
  run.report(rank(0), Errc::kTimeout, "chunk 3 at shard 0 waits for rank 2");
  run.expect_evicted(rank(2), agent(1));
}

TEST(CoordinatorAbsence, HearsayOfStrangersIsRefused) {
  Patient run;
  for (const MemberId stranger : {rank(1), shard(2), agent(0)}) {
    EXPECT_FALSE(run.frame(rank(0), FrameType::kUnreachable, encode(Unreachable{{{stranger, 1}}})));
  }
  EXPECT_FALSE(run.frame(agent(0), FrameType::kUnreachable, encode(Unreachable{})));
}

}  // namespace
}  // namespace tutti::testing
