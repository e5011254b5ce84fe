// SPDX-License-Identifier: Apache-2.0
#include "common/control/liveness.h"

#include <gmock/gmock.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = Liveness::Finding::Kind;

std::uint64_t ns(Duration time) {
  return static_cast<std::uint64_t>(time.count());
}

/// Four ranks and a shard under two agents whose heartbeats come every half second of a timeout of 3 s.
struct Watched {
  Watched() {
    for (std::int32_t i = 0; i < 4; ++i) beats[rank(i)] = {rank(i), Activity::kWorking};
    beats[shard(0)] = {shard(0), Activity::kStarting};
  }
  ChildBeat& operator[](std::int32_t number) { return beats[rank(number)]; }
  void wait(std::initializer_list<std::int32_t> ranks) {
    for (const std::int32_t number : ranks) (*this)[number].activity = Activity::kWaiting;
  }
  /// One period: those that wait have waited longer, and all agents but the silent one say so.
  void pass(std::optional<std::int32_t> silent_agent = std::nullopt) {
    now += period;
    for (auto& [member, beat] : beats) {
      beat.since_ns = beat.activity == Activity::kWaiting ? beat.since_ns + ns(period) : 0;
    }
    for (std::int32_t agent = 0; agent < 3; ++agent) {
      if (agent != silent_agent) liveness.heard({Role::kAgent, agent}, of(agent), now);
    }
    for (const auto& finding : liveness.judge(now)) found.push_back(finding);
  }
  void pass_for(Duration time) {
    for (const TimePoint end = now + time; now < end;) pass();
  }
  /// Each step of `length` lets every rank wait for so long.
  void step(int steps, Duration length, std::initializer_list<Duration> waits) {
    for (int i = 0; i < steps; ++i) {
      std::int32_t number = 0;
      for (const Duration waited : waits) (*this)[number++].waited_ns += ns(waited);
      for (std::int32_t each = 0; each < 4; ++each) ++(*this)[each].step;
      for (Duration left = length; left > Duration::zero(); left -= period) pass();
    }
  }
  Heartbeat of(std::int32_t agent) const {
    Heartbeat heartbeat;
    for (const auto& [member, beat] : beats) {
      const std::int32_t home = member.role == Role::kServer ? 0 : member.rank / 2;
      if (home == agent) heartbeat.children.push_back(beat);
    }
    return heartbeat;
  }
  std::vector<Liveness::Finding> take(Kind kind) {
    std::vector<Liveness::Finding> of_kind;
    for (const auto& finding : std::exchange(found, {})) {
      if (finding.kind == kind) of_kind.push_back(finding);
    }
    return of_kind;
  }

  const Duration period = milliseconds(500);
  TimePoint now{};
  std::map<MemberId, ChildBeat> beats;
  Liveness liveness{seconds(3)};
  std::vector<Liveness::Finding> found;
};

TEST(Liveness, TellsOfSilenceAfterAThirdOfTheTimeoutAndOfDeathAfterAllOfIt) {
  Watched run;
  for (const MemberId silent : {rank(2), shard(0)}) {
    run.beats[silent].silent_ns = ns(milliseconds(999));
    run.pass();
    EXPECT_THAT(run.found, IsEmpty());
    run.beats[silent].silent_ns = ns(seconds(1));
    run.pass_for(seconds(1));
    ASSERT_THAT(run.found, SizeIs(1)) << "told once";
    EXPECT_EQ(run.found[0].kind, Kind::kQuiet);
    EXPECT_EQ(run.found[0].member, silent);
    EXPECT_EQ(run.found[0].time, seconds(1));
    run.beats[silent].silent_ns = ns(seconds(3));
    run.pass_for(seconds(1));
    const auto dead = run.take(Kind::kDead);
    ASSERT_THAT(dead, SizeIs(1));
    EXPECT_EQ(dead[0].member, silent);
    run.beats[silent].silent_ns = 0;
  }
}

TEST(Liveness, SilenceThatEndsInTimeMayBeToldOfAgain) {
  Watched run;
  for (int pause = 0; pause < 2; ++pause) {
    run[1].silent_ns = ns(seconds(2));
    run.pass();
    run[1].silent_ns = 0;
    run.pass();
  }
  EXPECT_THAT(run.found, SizeIs(2));
  EXPECT_THAT(run.take(Kind::kDead), IsEmpty());
}

TEST(Liveness, WorkerForWhichAllOthersWaitTooLongIsStuck) {
  Watched run;
  run.step(12, milliseconds(500), {});
  run.wait({0, 1, 3});
  run.pass_for(milliseconds(4500));
  EXPECT_THAT(run.take(Kind::kStuck), IsEmpty()) << "ten of its steps are five seconds";
  run.pass_for(seconds(2));
  const auto stuck = run.take(Kind::kStuck);
  ASSERT_THAT(stuck, SizeIs(1)) << "and it is told once";
  EXPECT_EQ(stuck[0].member, rank(2));
  EXPECT_EQ(stuck[0].time, seconds(5));
}

TEST(Liveness, NobodyIsStuckBecauseAllAreSlow) {
  Watched run;
  run.step(12, milliseconds(500), {});
  run.pass_for(seconds(600));
  run.wait({0});
  run.pass_for(seconds(600));
  EXPECT_THAT(run.found, IsEmpty()) << "one waits, and three are at work";
}

TEST(Liveness, TwoOfFourCanBeStuckAtOnce) {
  Watched run;
  run.wait({0, 3});
  run.pass_for(seconds(30));
  EXPECT_THAT(run.take(Kind::kStuck), SizeIs(2));
}

TEST(Liveness, WaitsThatAreMadeAnewAreNoSignOfAnybodyWhoIsStuck) {
  Watched run;
  run.wait({0, 1, 3});
  for (int save = 0; save < 100; ++save) {
    run.pass_for(seconds(1));
    for (const std::int32_t number : {0, 1, 3}) run[number].since_ns = 0;
  }
  EXPECT_THAT(run.found, IsEmpty()) << "as while rank 0 saves a checkpoint and says so";
}

TEST(Liveness, WhatOthersWaitedForALostOneDoesNotCountAgainstItsSuccessor) {
  Watched run;
  run.step(2, milliseconds(500), {});
  run.wait({0, 1, 3});
  for (auto number : {0, 1, 3}) run[number].since_ns = ns(seconds(100));
  run.liveness.forget(rank(2));
  run[2] = {rank(2), Activity::kStarting};
  run.pass_for(seconds(20));
  EXPECT_THAT(run.take(Kind::kStuck), IsEmpty());
  run.pass_for(seconds(5));
  EXPECT_THAT(run.take(Kind::kStuck), SizeIs(1));
}

TEST(Liveness, PatienceIsLongerBeforeTheFirstStepAndBoundedAfterwards) {
  const auto patience = [](Activity activity, int steps, Duration step) {
    Watched run;
    run.step(steps, step, {});
    run[2] = {rank(2), activity, run[2].step};
    run.wait({0, 1, 3});
    const TimePoint begin = run.now;
    while (run.found.empty()) run.pass();
    return run.now - begin;
  };
  EXPECT_EQ(patience(Activity::kStarting, 0, {}), seconds(24));
  EXPECT_EQ(patience(Activity::kWorking, 0, {}), seconds(12));
  EXPECT_EQ(patience(Activity::kWorking, 40, milliseconds(1)), seconds(5)) << "a step is as long as a heartbeat here";
  EXPECT_EQ(patience(Activity::kWorking, 11, seconds(60)), seconds(12));
}

TEST(Liveness, FirstStepOfANewcomerMayLastLongerThanTheRunsUsualOnes) {
  Watched run;
  run.step(40, milliseconds(1), {});
  run.liveness.forget(rank(2));
  run[2] = {rank(2), Activity::kWaiting};
  run.pass();
  run[2] = {rank(2), Activity::kWorking, 40};
  run.wait({0, 1, 3});
  run.pass_for(milliseconds(12000));
  EXPECT_THAT(run.found, IsEmpty());
  run.pass();
  EXPECT_THAT(run.take(Kind::kStuck), SizeIs(1));
}

TEST(Liveness, WhoeverLeavesIsWaitedForByNobodyHere) {
  Watched run;
  for (const std::int32_t number : {0, 1, 3}) run[number].activity = Activity::kLeaving;
  run.pass_for(seconds(600));
  EXPECT_THAT(run.found, IsEmpty());
}

TEST(Liveness, NewProcessIsJudgedAnew) {
  Watched run;
  run[1].silent_ns = ns(seconds(3));
  run.pass();
  EXPECT_THAT(run.take(Kind::kDead), SizeIs(1));
  run.liveness.forget(rank(1));
  run.pass();
  EXPECT_THAT(run.take(Kind::kDead), SizeIs(1)) << "nothing is known of the one before";
}

TEST(Liveness, SlowWorkerIsToldOfWithinTwentyStepsAndNotAgainForAWhile) {
  Watched run;
  run.step(20, seconds(1), {milliseconds(900), milliseconds(850), milliseconds(800), milliseconds(50)});
  ASSERT_THAT(run.found, SizeIs(1));
  EXPECT_EQ(run.found[0].kind, Kind::kSlow);
  EXPECT_EQ(run.found[0].member, rank(3));
  EXPECT_EQ(std::chrono::round<milliseconds>(run.found[0].time), milliseconds(850)) << "the others' mean";
  EXPECT_EQ(run.found[0].step, seconds(1));
  run.step(60, seconds(1), {milliseconds(900), milliseconds(850), milliseconds(800), milliseconds(50)});
  EXPECT_THAT(run.found, SizeIs(1));
}

TEST(Liveness, NobodyIsSlowWhereAllWaitTheSame) {
  Watched run;
  run.step(40, seconds(1), {milliseconds(900), milliseconds(900), milliseconds(900), milliseconds(800)});
  EXPECT_THAT(run.found, IsEmpty()) << "as for a slow network";
}

TEST(Liveness, OneSlowWindowIsNotTold) {
  Watched run;
  for (int i = 0; i < 10; ++i) {
    run.step(5, seconds(1), {milliseconds(900), milliseconds(900), milliseconds(900), {}});
    run.step(5, seconds(1), {});
  }
  EXPECT_THAT(run.found, IsEmpty());
}

TEST(Liveness, SilentAgentIsDeadWhenItsLeaseHasEnded) {
  Watched run;
  run.pass();
  const TimePoint heard = run.now;
  EXPECT_EQ(run.liveness.lease_end(agent(1)), heard + seconds(3));
  EXPECT_FALSE(run.liveness.lease_end(agent(7)));
  while (run.found.empty()) run.pass(1);
  EXPECT_EQ(run.now - heard, seconds(1));
  EXPECT_EQ(run.found[0].kind, Kind::kQuiet);
  run.found.clear();
  while (run.found.empty()) run.pass(1);
  EXPECT_EQ(run.now - heard, seconds(3));
  EXPECT_EQ(run.found[0].kind, Kind::kDead);
  EXPECT_EQ(run.found[0].member, agent(1));
}

TEST(Liveness, ChildrenOfASilentAgentAreNotJudgedByWhatItLastSaid) {
  Watched run;
  run.wait({0, 1, 3});
  run.pass();
  for (int i = 0; i < 5; ++i) run.pass(1);
  for (int i = 0; i < 40; ++i) run.pass(1);
  EXPECT_THAT(run.take(Kind::kStuck), IsEmpty()) << "rank 2 may wait by now";
}

TEST(Liveness, CoordinatorThatHearsNobodyTakesItselfForCutOff) {
  Watched run;
  run.pass();
  const auto silence = [&run](Duration time) {
    for (const TimePoint end = run.now + time; run.now < end;) {
      run.now += run.period;
      run.liveness.heard(agent(0), run.of(0), run.now);
      for (const auto& finding : run.liveness.judge(run.now)) run.found.push_back(finding);
    }
  };
  silence(seconds(59));
  EXPECT_THAT(run.take(Kind::kDead), IsEmpty()) << "steps pause, and no place is given away";
  silence(seconds(1));
  EXPECT_THAT(run.take(Kind::kDead), SizeIs(2)) << "no wait is without a bound";
}

TEST(Liveness, WhoHasSleptHasHeardNobodyMeanwhile) {
  Watched run;
  run.pass();
  run.now += seconds(60);
  for (const auto& finding : run.liveness.judge(run.now)) run.found.push_back(finding);
  run.pass_for(seconds(5));
  EXPECT_THAT(run.found, IsEmpty());
}

TEST(Liveness, NumbersOutOfAnyBoundAreTakenForLongTimes) {
  Watched run;
  run[0] = {rank(0), Activity::kWaiting, ~0ull, ~0ull, ~0ull, ~0ull};
  for (int i = 0; i < 10; ++i) run.pass();
  EXPECT_THAT(run.take(Kind::kDead), SizeIs(1));
}

TEST(Liveness, WithoutATimeoutNobodyIsJudged) {
  Liveness liveness{Duration::zero()};
  liveness.heard(agent(1), {}, TimePoint{});
  EXPECT_FALSE(liveness.next_look());
  EXPECT_THAT(liveness.judge(TimePoint{} + seconds(100)), IsEmpty());
}

}  // namespace
}  // namespace tutti::testing
