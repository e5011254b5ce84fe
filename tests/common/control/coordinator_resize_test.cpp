// SPDX-License-Identifier: Apache-2.0
// How a run goes on in another world.
#include <gmock/gmock.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

/// One worker for each agent that is there, the first agents first, and the shard at agent 0.
Result<WorldPlan> one_for_each(int workers, const std::set<std::int32_t>& without) {
  WorldPlan plan;
  plan.workers = workers;
  plan.servers = 1;
  plan.homes[shard(0)] = 0;
  std::int32_t home = 0;
  for (std::int32_t i = 0; i < workers; ++i, ++home) {
    while (without.contains(home)) ++home;
    plan.homes[rank(i)] = home;
  }
  if (home > 4) return fail(Errc::kUnavailable, "there are no agents for that");
  plan.share = std::to_string(workers) + " workers";
  return plan;
}

CoordinatorOptions elastic(int workers = 3, bool restartable = true) {
  CoordinatorOptions options = world(workers, 1, 4);
  options.replacements = 1;
  options.restartable = restartable;
  options.elasticity = {.least = 2, .most = 4, .outlives_agents = true, .plan = one_for_each};
  options.homes = one_for_each(workers, {}).value().homes;
  return options;
}

struct Elastic : Driver {
  explicit Elastic(const CoordinatorOptions& options = elastic()) : Driver(options) {
    join_all();
    for (int i = 0; i < options.workers; ++i) progress(rank(i), 37);
  }
  void stop(int workers) {
    for (int i = 0; i < workers; ++i) leave(rank(i));
    say(shard(0), FrameType::kLeave, Leave{++request, 0});
    for (int i = 0; i < workers; ++i) EXPECT_TRUE(reply(rank(i), FrameType::kLeft).ok);
    EXPECT_TRUE(reply(shard(0), FrameType::kLeft).ok);
    for (int i = 0; i < workers; ++i) exited(agent(i), rank(i), exit_status(75));
  }
  /// The next start for each of these agents, behind its share.
  void expect_world(const std::map<int, MemberId>& workers, const std::string& share) {
    for (const auto& [home, worker] : workers) {
      EXPECT_EQ(told<Assign>(agent(home), FrameType::kAssign).share, share);
      const Start start = told<Start>(agent(home), FrameType::kStart);
      EXPECT_EQ(start.member, worker);
      if (home != 0) continue;
      EXPECT_EQ(told<Start>(agent(home), FrameType::kStart).member, shard(0));
      EXPECT_FALSE(start.newcomer);
      EXPECT_EQ(start.generation, machine.generation());
    }
  }
  void expect_evicted(const std::map<int, std::vector<MemberId>>& members) {
    for (const auto& [home, of_home] : members) {
      for (const MemberId& member : of_home) EXPECT_EQ(told<Evict>(agent(home), FrameType::kEvict).member, member);
    }
    for (const auto& [home, of_home] : members) {
      for (const MemberId& member : of_home) exited(agent(home), member, SIGKILL);
    }
  }
};

TEST(CoordinatorResize, AllStopAfterTheirStepAndBeginAgainAsTheNewWorld) {
  Elastic run;
  run.resize(4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(run.told(agent(i), FrameType::kStop), "");
  run.stop(3);
  EXPECT_TRUE(run.told_nothing(agent(1))) << "the shard is still there";
  run.exited(agent(0), shard(0), 0);
  run.expect_world({{0, rank(0)}, {1, rank(1)}, {2, rank(2)}, {3, rank(3)}}, "4 workers");
  EXPECT_TRUE(run.join(shard(0)));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(run.join(rank(i), 4));
  EXPECT_THAT(run.notices, ElementsAre(HasSubstr("from 3 workers to 4")));
  EXPECT_FALSE(run.exit_code);
}

TEST(CoordinatorResize, RunThatEndsInTheMeantimeEnds) {
  Elastic run;
  run.resize(2);
  for (int i = 0; i < 3; ++i) run.leave(rank(i));
  for (int i = 0; i < 3; ++i) run.exited(agent(i), rank(i), 0);
  (void)run.told(agent(1), FrameType::kStop);
  EXPECT_EQ(run.told<Shutdown>(agent(1), FrameType::kShutdown).exit_code, 0);
}

TEST(CoordinatorResize, WorkersThatDoNotStopAreEndedAfterTheDeadline) {
  Elastic run;
  run.resize(2);
  for (int i = 0; i < 4; ++i) (void)run.told(agent(i), FrameType::kStop);
  run.pass(run.options.end_timeout);
  run.expect_evicted({{0, {rank(0), shard(0)}}, {1, {rank(1)}}, {2, {rank(2)}}});
  run.expect_world({{0, rank(0)}, {1, rank(1)}}, "2 workers");
  EXPECT_EQ(run.told<Assign>(agent(2), FrameType::kAssign).share, "2 workers") << "it has nothing to start";
  EXPECT_TRUE(run.told_nothing(agent(2)));
  run.closed(rank(2));  // nobody's any more
  EXPECT_FALSE(run.join(rank(2)));
}

TEST(CoordinatorResize, WishesThatCannotBeAreAnsweredByALine) {
  Elastic run;
  run.resize(1);
  run.resize(5);
  run.resize(3);
  run.resize(4);
  run.resize(2);
  EXPECT_THAT(run.notices, ElementsAre(HasSubstr("found 1 worker, expected 2 to 4"), HasSubstr("found 5"),
                                       HasSubstr("there are 3 workers already"), HasSubstr("from 3 workers to 4"),
                                       HasSubstr("another one is under way")));
  CoordinatorOptions fixed = elastic();
  fixed.elasticity.least = fixed.elasticity.most = 0;
  Elastic other(fixed);
  other.resize(2);
  EXPECT_THAT(other.notices, ElementsAre(HasSubstr("not started with a range")));
}

TEST(CoordinatorResize, RankThatIsLostForGoodLeavesASmallerWorld) {
  Elastic run;
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_EQ(run.told<Start>(agent(1), FrameType::kStart).member, rank(1));
  run.exited(agent(1), rank(1), SIGKILL);
  run.expect_evicted({{0, {rank(0), shard(0)}}, {2, {rank(2)}}});
  run.expect_world({{0, rank(0)}, {2, rank(1)}}, "2 workers");
  EXPECT_EQ(run.told<Assign>(agent(1), FrameType::kAssign).share, "2 workers");
  EXPECT_TRUE(run.told_nothing(agent(1))) << "its place is worn";
}

TEST(CoordinatorResize, WatchersAreToldOfTheLossAndOfTheWorldThatBegins) {
  Elastic run;
  for (int i = 0; i < 2; ++i) run.exited(agent(1), rank(1), SIGKILL);
  run.happenings.erase(run.happenings.begin(), run.happenings.begin() + 8);  // all that joined
  const auto what = [&](std::size_t i) { return run.happenings.at(i).what; };
  EXPECT_EQ(what(0), Happening::What::kLost) << "it gets a successor";
  EXPECT_EQ(what(1), Happening::What::kLost) << "which is not replaced, but counts as well";
  EXPECT_EQ(run.happenings[1].reason, "killed");
  EXPECT_EQ(what(2), Happening::What::kRestarted);
  EXPECT_EQ(run.happenings[2].step, 37u);
  (void)run.told<Start>(agent(1), FrameType::kStart);
  run.expect_evicted({{0, {rank(0), shard(0)}}, {2, {rank(2)}}});
  ASSERT_EQ(run.happenings.size(), 4u);
  EXPECT_EQ(what(3), Happening::What::kResized);
  EXPECT_EQ(run.happenings[3].workers, 2);
  EXPECT_EQ(run.happenings[3].shards, 1);
  EXPECT_EQ(run.happenings[3].text, "the run goes on as 2 workers");
}

TEST(CoordinatorResize, TheUsersStopIsNotForgottenInTheNextWorld) {
  Elastic run;
  run.resize(2);
  EXPECT_TRUE(run.ask(Wish::kStop));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run.told<WishMessage>(rank(i), FrameType::kWish).wish, Wish::kStop);
  run.stop(3);
  run.exited(agent(0), shard(0), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(run.join(rank(i), 2));
    EXPECT_EQ(run.told<WishMessage>(rank(i), FrameType::kWish).wish, Wish::kStop);
  }
}

TEST(CoordinatorResize, SmallestWorldThatLosesARankForGoodEnds) {
  Elastic run(elastic(2));
  for (int i = 0; i < 2; ++i) run.exited(agent(1), rank(1), SIGKILL);
  (void)run.told<Start>(agent(1), FrameType::kStart);
  EXPECT_EQ(run.told<Shutdown>(agent(1), FrameType::kShutdown).exit_code, 70);
}

TEST(CoordinatorResize, LostAgentLeavesASmallerWorld) {
  Elastic run;
  run.closed(rank(1));
  run.closed(agent(1));
  EXPECT_TRUE(run.told_nothing(agent(2))) << "what it had started may still be there";
  run.pass(run.options.patience);
  run.expect_evicted({{0, {rank(0), shard(0)}}, {2, {rank(2)}}});
  run.expect_world({{0, rank(0)}, {2, rank(1)}}, "2 workers");
  EXPECT_THAT(run.machine.lost_agents(), UnorderedElementsAre(1));
  EXPECT_THAT(run.notices, ElementsAre(HasSubstr("agent 1 on node1 was lost")));
}

TEST(CoordinatorResize, LostAgentsPlacesAreGivenAwayWhenItsLeaseHasEnded) {
  CoordinatorOptions options = elastic();
  options.timeout = std::chrono::seconds(3);
  Elastic run(options);
  run.say(agent(1), FrameType::kHeartbeat, Heartbeat{1, {}});
  (void)run.told<Lease>(agent(1), FrameType::kLease);
  run.closed(agent(1));
  run.pass(options.timeout - std::chrono::milliseconds(1));
  EXPECT_TRUE(run.told_nothing(agent(2))) << "until then its processes may begin steps";
  run.pass(std::chrono::milliseconds(1));
  run.expect_evicted({{0, {rank(0), shard(0)}}, {2, {rank(2)}}});
}

TEST(CoordinatorResize, LostAgentsShareGoesToTheOthersWhereTheNumberIsFixed) {
  CoordinatorOptions fixed = elastic();
  fixed.elasticity.least = fixed.elasticity.most = 0;
  Elastic run(fixed);
  run.closed(agent(1));
  run.pass(run.options.patience);
  run.expect_evicted({{0, {rank(0), shard(0)}}, {2, {rank(2)}}});
  run.expect_world({{0, rank(0)}, {2, rank(1)}, {3, rank(2)}}, "3 workers");
}

TEST(CoordinatorResize, AgentThatWakesAfterItWasGivenUpIsNotHeard) {
  Elastic run;
  run.closed(agent(1));
  run.pass(run.options.patience);
  const std::string late = encode(ChildExited{rank(2), SIGKILL, 0, ""});
  EXPECT_FALSE(run.frame(agent(1), FrameType::kChildExited, late)) << "its connection is closed";
}

TEST(CoordinatorResize, NobodyWaitsForAMemberOfALargerWorld) {
  CoordinatorOptions options = elastic();
  options.timeout = std::chrono::seconds(3);
  Elastic run(options);
  const auto beat = [&](int number, Activity activity, std::chrono::nanoseconds since) {
    ChildBeat child;
    child.member = rank(number);
    child.activity = activity;
    child.since_ns = static_cast<std::uint64_t>(since.count());
    run.say(agent(number), FrameType::kHeartbeat, Heartbeat{1, {child}});
  };
  beat(2, Activity::kWorking, {});
  run.resize(2);
  run.stop(3);
  run.exited(agent(0), shard(0), 0);
  for (const int number : {0, 1}) beat(number, Activity::kWaiting, std::chrono::hours(1));
  EXPECT_THAT(run.notices, ElementsAre(HasSubstr("from 3 workers to 2")));
}

TEST(CoordinatorResize, AgentWithoutProcessesIsMissedByNobody) {
  Elastic run;
  run.closed(agent(3));
  run.pass(run.options.patience);
  EXPECT_TRUE(run.told_nothing(agent(0)));
  EXPECT_THAT(run.notices, ElementsAre(HasSubstr("it had started nothing")));
}

TEST(CoordinatorResize, AgentThatIsLostWhileTheOthersBeginAgainTakesNothingAlong) {
  Elastic run;
  run.closed(agent(1));
  run.pass(run.options.patience);
  for (const MemberId who : {rank(0), shard(0)}) EXPECT_EQ(run.told<Evict>(agent(0), FrameType::kEvict).member, who);
  run.closed(agent(2));
  run.pass(run.options.patience);
  for (const MemberId who : {rank(0), shard(0)}) run.exited(agent(0), who, SIGKILL);
  run.expect_world({{0, rank(0)}, {3, rank(1)}}, "2 workers");
}

TEST(CoordinatorResize, LostAgentEndsARunThatCannotBeginAgain) {
  Elastic run(elastic(3, /*restartable=*/false));
  run.closed(agent(1));
  run.pass(run.options.patience);
  EXPECT_EQ(run.told<Shutdown>(agent(2), FrameType::kShutdown).exit_code, 69);
}

TEST(CoordinatorResize, LostAgentEndsARunWhoseAgentsEndTogether) {
  CoordinatorOptions options = elastic();
  options.elasticity.outlives_agents = false;
  Elastic run(options);
  run.closed(agent(1));
  EXPECT_EQ(run.told<Shutdown>(agent(2), FrameType::kShutdown).exit_code, 69);
}

TEST(CoordinatorResize, TriesAreCountedAnewInAnotherWorld) {
  Elastic run;
  run.exited(agent(1), rank(1), SIGKILL);
  (void)run.told<Start>(agent(1), FrameType::kStart);
  for (const MemberId who : {rank(0), rank(2), shard(0)}) (void)run.told(who, FrameType::kRegroup);
  run.resize(4);
  for (int i = 0; i < 4; ++i) (void)run.told(agent(i), FrameType::kStop);
  EXPECT_TRUE(run.join(rank(1)));
  run.stop(3);
  run.exited(agent(0), shard(0), 0);
  run.expect_world({{1, rank(1)}}, "4 workers");
  EXPECT_TRUE(run.join(rank(0)));
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_EQ(run.told<Start>(agent(1), FrameType::kStart).member, rank(1));
}

}  // namespace
}  // namespace tutti::testing
