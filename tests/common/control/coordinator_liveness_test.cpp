// SPDX-License-Identifier: Apache-2.0
// What follows from who is silent, stuck or slow.
#include <gmock/gmock.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

CoordinatorOptions watched(int replacements) {
  CoordinatorOptions options = world(2, 1, 2);
  options.replacements = replacements;
  options.timeout = seconds(3);
  options.homes = {{rank(0), 0}, {rank(1), 1}, {shard(0), 0}};
  return options;
}

/// Two workers and a shard under two agents, at step 37.
struct Beating : Driver {
  explicit Beating(int replacements = 3) : Driver(watched(replacements)) {
    join_all();
    for (const MemberId who : {rank(0), rank(1)}) progress(who, 37);
  }
  void beat(MemberId from, std::vector<ChildBeat> children) {
    say(from, FrameType::kHeartbeat, Heartbeat{++sent, std::move(children)});
  }
  ChildBeat silent(MemberId who, Duration time) const {
    ChildBeat beat{who, Activity::kWorking, 37};
    beat.silent_ns = static_cast<std::uint64_t>(time.count());
    return beat;
  }
  std::uint64_t sent = 0;
};

TEST(CoordinatorLiveness, HeartbeatIsAnsweredWithWhatItBrought) {
  Beating run;
  run.beat(agent(1), {run.silent(rank(1), {})});
  EXPECT_EQ(run.told<Lease>(agent(1), FrameType::kLease).sent_ns, run.sent);
  EXPECT_TRUE(run.told_nothing(agent(0)));
}

TEST(CoordinatorLiveness, StoppedWorkerIsNamedThenEndedByItsAgentAndReplaced) {
  Beating run;
  run.beat(agent(1), {run.silent(rank(1), seconds(1))});
  EXPECT_THAT(run.notices, ElementsAre("rank 1 on node1 has not been heard of for 1.0 s (at step 37)"));
  (void)run.told(agent(1), FrameType::kLease);
  run.beat(agent(1), {run.silent(rank(1), seconds(3))});
  (void)run.told(agent(1), FrameType::kLease);
  EXPECT_EQ(run.told<Evict>(agent(1), FrameType::kEvict).member, rank(1));
  EXPECT_EQ(run.machine.generation(), 1u) << "two of one name there are never";
  run.closed(rank(1));
  run.exited(agent(1), rank(1), SIGKILL, "some last words");
  EXPECT_EQ(run.machine.generation(), 2u);
  EXPECT_THAT(run.told<Regroup>(rank(0), FrameType::kRegroup).why,
              "rank 1 on node1 was lost at step 37: it has not been heard of for 3.0 s");
  EXPECT_EQ(run.told<Start>(agent(1), FrameType::kStart).member, rank(1));
}

TEST(CoordinatorLiveness, CauseSaysWhatTheStuckWorkerWasDoing) {
  Beating run;
  ChildBeat waits{rank(0), Activity::kWaiting, 37, 0, static_cast<std::uint64_t>(Duration(seconds(12)).count())};
  run.beat(agent(0), {waits});
  run.beat(agent(1), {run.silent(rank(1), {})});
  (void)run.told(agent(1), FrameType::kLease);
  EXPECT_EQ(run.told<Evict>(agent(1), FrameType::kEvict).member, rank(1));
  run.say(agent(1), FrameType::kChildExited, ChildExited{rank(1), SIGKILL, 37, "", "12.1 s after iteration_begin 37"});
  EXPECT_THAT(run.told<Regroup>(rank(0), FrameType::kRegroup).why,
              "rank 1 on node1 was lost at step 37 (12.1 s after iteration_begin 37): it makes no progress, and the "
              "others have waited 12.0 s for it");
}

TEST(CoordinatorLiveness, WithoutReplacementTheRunEndsWithTheSilentOne) {
  Beating run(/*replacements=*/0);
  run.beat(agent(0), {run.silent(shard(0), seconds(3))});
  const Abort abort = run.told<Abort>(rank(0), FrameType::kAbort);
  EXPECT_EQ(abort.guilty, shard(0));
  EXPECT_THAT(abort.text, HasSubstr("shard 0 on node0 was lost: it has not been heard of for 3.0 s"));
}

TEST(CoordinatorLiveness, SilenceOfOneThatIsGoneIsNobodysNews) {
  Beating run;
  run.closed(rank(1));
  run.beat(agent(1), {run.silent(rank(1), seconds(3))});
  EXPECT_THAT(run.notices, IsEmpty());
  for (const MemberId who : {rank(0), rank(1)}) EXPECT_TRUE(run.told_nothing(who));
}

TEST(CoordinatorLiveness, SilentAgentIsLostAndItsAnswerIsNotAwaited) {
  Beating run;
  run.beat(agent(1), {run.silent(rank(1), {})});
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(run.exit_code);
    run.pass(milliseconds(500));
  }
  EXPECT_THAT(run.notices, ElementsAre("agent 1 on node1 has not been heard of for 1.0 s"));
  EXPECT_THAT(run.told<Abort>(rank(0), FrameType::kAbort).text,
              HasSubstr("agent 1 on node1 was lost: it has not been heard of for 3.0 s"));
  EXPECT_EQ(run.told<Shutdown>(agent(0), FrameType::kShutdown).exit_code, 69);
  EXPECT_TRUE(run.frame(agent(0), FrameType::kAgentDone, ""));
  EXPECT_EQ(run.exit_code, 69);
}

TEST(CoordinatorLiveness, LooksByItselfWhereAnAgentHasBeenHeardOf) {
  Beating run;
  run.beat(agent(1), {});
  EXPECT_EQ(run.machine.next_deadline(), run.now + milliseconds(500));
}

TEST(CoordinatorLiveness, HeartbeatOfAStrangersChildIsRefused) {
  Beating run;
  for (const MemberId stranger : {rank(2), agent(0)}) {
    EXPECT_FALSE(run.frame(agent(1), FrameType::kHeartbeat, encode(Heartbeat{1, {run.silent(stranger, {})}})));
  }
  EXPECT_FALSE(run.frame(rank(1), FrameType::kHeartbeat, encode(Heartbeat{}))) << "only agents send it";
}

}  // namespace
}  // namespace tutti::testing
