// SPDX-License-Identifier: Apache-2.0
// What the user wants of a run under way, and what whoever watches is told of it.
#include <gmock/gmock.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using What = Happening::What;

CoordinatorOptions watched_world(int replacements = 3, bool restartable = false) {
  CoordinatorOptions options = world(2, 1, 2);
  options.replacements = replacements;
  options.restartable = restartable;
  options.timeout = seconds(3);
  options.homes = {{rank(0), 0}, {rank(1), 1}, {shard(0), 0}};
  return options;
}

struct WatchedRun : Driver {
  explicit WatchedRun(const CoordinatorOptions& options = watched_world()) : Driver(options) {
    join_all();
    happenings.clear();
  }
  std::vector<Happening> happened() { return std::exchange(happenings, {}); }
  Happening happened_last() {
    EXPECT_FALSE(happenings.empty());
    const Happening last = happenings.empty() ? Happening() : happenings.back();
    happenings.clear();
    return last;
  }
  std::vector<std::string> reasons() {
    std::vector<std::string> reasons;
    for (const Happening& happening : happenings) {
      if (happening.what == What::kLost) reasons.emplace_back(happening.reason);
    }
    return reasons;
  }
  Wish wish(MemberId who) { return told<WishMessage>(who, FrameType::kWish).wish; }
  void workers_stop() {
    leave(shard(0));
    for (const MemberId who : {rank(0), rank(1)}) leave(who);
    for (const MemberId who : {rank(0), rank(1), shard(0)}) EXPECT_TRUE(reply(who, FrameType::kLeft).ok);
    exited(agent(0), rank(0), exit_status(75));
    exited(agent(1), rank(1), exit_status(75));
  }
  void agents_answer() {
    for (const MemberId host : {agent(0), agent(1)}) EXPECT_TRUE(frame(host, FrameType::kAgentDone, ""));
  }
};

// --- wishes

TEST(CoordinatorWish, ToSaveIsRank0sAlone) {
  WatchedRun run;
  EXPECT_TRUE(run.ask(Wish::kCheckpoint));
  EXPECT_EQ(run.wish(rank(0)), Wish::kCheckpoint);
  EXPECT_TRUE(run.told_nothing(rank(0)));
  EXPECT_TRUE(run.told_nothing(rank(1))) << "it would hear of it a step later, and all would save once more";
  EXPECT_THAT(run.notices, IsEmpty());
}

TEST(CoordinatorWish, ToStopIsToldToAllWorkersAndEndsTheRunAsTheUsersOwn) {
  WatchedRun run;
  run.progress(rank(0), 17);
  EXPECT_TRUE(run.ask(Wish::kStop));
  for (const MemberId who : {rank(0), rank(1)}) EXPECT_EQ(run.wish(who), Wish::kStop);
  EXPECT_TRUE(run.told_nothing(shard(0)));
  const Happening stopping = run.happened_last();
  EXPECT_EQ(stopping.what, What::kStopping);
  EXPECT_EQ(stopping.step, 17u);
  EXPECT_THAT(run.notices, ElementsAre("the run is asked to stop after this step"));
  run.workers_stop();
  EXPECT_EQ(run.told<Shutdown>(agent(0), FrameType::kShutdown).exit_code, 130);
  run.agents_answer();
  EXPECT_EQ(run.exit_code, 130) << "nobody is to start it again";
  EXPECT_EQ(run.happened_last().text, "the run was asked to stop");
}

TEST(CoordinatorWish, IsRefusedBeforeAllHaveJoined) {
  Driver run(watched_world());
  for (const MemberId who : {agent(0), agent(1), shard(0), rank(0)}) EXPECT_TRUE(run.join(who));
  for (const Wish wish : {Wish::kCheckpoint, Wish::kStop}) {
    const auto asked = run.ask(wish);
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().code, Errc::kUsage);
    EXPECT_EQ(asked.error().message, "not all workers are there yet");
  }
  EXPECT_TRUE(run.told_nothing(rank(0)));
}

TEST(CoordinatorWish, IsRefusedWhileALostRanksPlaceIsEmptyAndWhileAllBeginAgain) {
  WatchedRun run(watched_world(3, /*restartable=*/true));
  run.progress(rank(0), 17);
  run.closed(rank(1));
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_EQ(run.ask(Wish::kStop).error().message, "not all workers are there yet");
  EXPECT_TRUE(run.join(rank(1)));
  run.say(rank(1), FrameType::kRestart, Restart{"cannot go on"});
  EXPECT_EQ(run.ask(Wish::kStop).error().message, "not all workers are there yet");
}

TEST(CoordinatorWish, IsRefusedWhenTheRunIsEnding) {
  WatchedRun leaving;
  for (const MemberId who : {rank(0), rank(1)}) leaving.leave(who);
  EXPECT_EQ(leaving.ask(Wish::kStop).error().message, "the run is ending");
  WatchedRun failing(watched_world(/*replacements=*/0));
  failing.exited(agent(1), rank(1), SIGSEGV);
  EXPECT_EQ(failing.ask(Wish::kCheckpoint).error().message, "the run is ending");
}

TEST(CoordinatorWish, ToStopOutlivesTheProcessesThatWereAsked) {
  WatchedRun run;
  run.progress(rank(0), 17);
  EXPECT_TRUE(run.ask(Wish::kStop));
  EXPECT_EQ(run.wish(rank(1)), Wish::kStop);
  run.closed(rank(1));
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_TRUE(run.join(rank(1)));
  EXPECT_EQ(run.wish(rank(1)), Wish::kStop) << "its successor is asked as well";
}

// --- happenings

TEST(CoordinatorHappenings, TellWhoJoinsAndWhere) {
  Driver run(watched_world());
  run.join_all();
  ASSERT_EQ(run.happenings.size(), 5u);
  const Happening& first = run.happenings[0];
  EXPECT_EQ(first.what, What::kJoined);
  EXPECT_EQ(first.member, agent(0));
  EXPECT_EQ(first.host, "node0");
  EXPECT_EQ(first.generation, 1u);
  EXPECT_EQ(run.happenings[4].text, "rank 1 joined");
  EXPECT_THAT(run.notices, IsEmpty()) << "nothing for the terminal";
}

TEST(CoordinatorHappenings, TellOfALossWithItsReasonAndOfTheSuccessor) {
  WatchedRun run;
  run.progress(rank(1), 17);
  run.closed(rank(1));
  EXPECT_THAT(run.happened(), IsEmpty());
  run.exited(agent(1), rank(1), SIGKILL);
  const Happening loss = run.happened_last();
  EXPECT_EQ(loss.what, What::kLost);
  EXPECT_EQ(loss.member, rank(1));
  EXPECT_EQ(loss.reason, "killed");
  EXPECT_EQ(loss.host, "node1");
  EXPECT_EQ(loss.step, 17u);
  EXPECT_EQ(loss.generation, 2u);
  EXPECT_THAT(run.notices, ElementsAre(loss.text));
  EXPECT_TRUE(run.join(rank(1)));
  const Happening joined = run.happened_last();
  EXPECT_EQ(joined.what, What::kJoined);
  EXPECT_EQ(joined.generation, 2u);
  EXPECT_EQ(joined.text, "rank 1 is there again");
}

TEST(CoordinatorHappenings, OneThatComesAgainHasNotJoined) {
  CoordinatorOptions options = watched_world();
  options.absence = seconds(3);
  WatchedRun run(options);
  run.closed(rank(1));
  EXPECT_TRUE(run.come_again(rank(1)));
  EXPECT_THAT(run.happened(), IsEmpty());
}

TEST(CoordinatorHappenings, TellWhoIsQuietAndWhoIsStuck) {
  WatchedRun run;
  run.progress(rank(1), 17);
  ChildBeat beat{rank(1), Activity::kWorking, 17};
  beat.silent_ns = static_cast<std::uint64_t>(Duration(seconds(1)).count());
  run.say(agent(1), FrameType::kHeartbeat, Heartbeat{1, {beat}});
  const Happening quiet = run.happened_last();
  EXPECT_EQ(quiet.what, What::kQuiet);
  EXPECT_EQ(quiet.member, rank(1));
  EXPECT_EQ(quiet.step, 17u);
  beat.silent_ns = static_cast<std::uint64_t>(Duration(seconds(3)).count());
  run.say(agent(1), FrameType::kHeartbeat, Heartbeat{2, {beat}});
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_THAT(run.reasons(), ElementsAre("silent")) << "not by the signal that its agent ended it with";
}

TEST(CoordinatorHappenings, TellWhoLeavesAndHowTheRunEnded) {
  WatchedRun run;
  for (const MemberId who : {rank(0), rank(1)}) run.leave(who);
  run.exited(agent(0), rank(0), 0);
  EXPECT_EQ(run.happened_last().what, What::kLeft);
  run.exited(agent(1), rank(1), 0);
  run.agents_answer();
  const Happening end = run.happened_last();
  EXPECT_EQ(end.what, What::kEnded);
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_EQ(end.text, "the run ended");
  EXPECT_FALSE(end.member);
}

TEST(CoordinatorHappenings, TellTheCauseOnceBeforeTheEnd) {
  WatchedRun run(watched_world(/*replacements=*/0));
  run.progress(rank(1), 17);
  run.exited(agent(1), rank(1), exit_status(3), "out of luck");
  run.agents_answer();
  const auto happened = run.happened();
  ASSERT_EQ(happened.size(), 2u);
  EXPECT_EQ(happened[0].what, What::kLost);
  EXPECT_EQ(happened[0].reason, "exited");
  EXPECT_EQ(happened[1].what, What::kEnded);
  EXPECT_EQ(happened[1].exit_code, 70);
  EXPECT_EQ(happened[1].text, "rank 1 on node1 exited with code 3 at step 17: last error: out of luck");
}

TEST(CoordinatorHappenings, TellOfARestart) {
  WatchedRun run(watched_world(3, /*restartable=*/true));
  run.progress(rank(0), 17);
  run.closed(rank(1));
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_TRUE(run.join(rank(1)));
  run.happenings.clear();
  run.say(rank(0), FrameType::kRestart, Restart{"cannot go on"});
  const Happening restart = run.happened_last();
  EXPECT_EQ(restart.what, What::kRestarted);
  EXPECT_EQ(restart.step, 17u) << "how far the run was";
  EXPECT_EQ(restart.text, "all workers begin again: rank 0 cannot go on");
}

TEST(CoordinatorHappenings, ALossThatTurnsOutBeyondRepairIsCountedOnce) {
  WatchedRun run;
  run.progress(rank(0), 17);
  run.closed(rank(1));
  run.exited(agent(1), rank(1), SIGKILL);
  EXPECT_TRUE(run.join(rank(1)));
  run.say(rank(0), FrameType::kRestart, Restart{"cannot go on"});
  run.agents_answer();
  EXPECT_EQ(run.exit_code, 69);
  EXPECT_THAT(run.reasons(), ElementsAre("killed"));
  EXPECT_EQ(run.happened_last().what, What::kEnded);
}

}  // namespace
}  // namespace tutti::testing
