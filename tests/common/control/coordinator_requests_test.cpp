// SPDX-License-Identifier: Apache-2.0
// Joining, gathers, the store and frames that do not belong: what the coordinator's machine does while all is well.
#include <gmock/gmock.h>

#include "tests/common/control/machine_driver.h"

namespace tutti::testing {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CoordinatorJoin, RefusesARankOutsideTheWorldAndOneThatIsTaken) {
  Driver run(world(2, 1));
  EXPECT_TRUE(run.join(rank(1)));
  EXPECT_EQ(run.join(rank(2)).error().code, Errc::kMismatch);
  EXPECT_EQ(run.join(rank(-1)).error().code, Errc::kMismatch);
  EXPECT_EQ(run.join(agent(0)).error().code, Errc::kMismatch);
  const auto taken = run.join(rank(1));
  EXPECT_EQ(taken.error().code, Errc::kMismatch);
  EXPECT_THAT(taken.error().message, HasSubstr("rank 1 is taken already, by a process on node1"));
  EXPECT_TRUE(run.join(shard(0)));
}

TEST(CoordinatorJoin, RefusesAWorldOfAnotherSize) {
  Driver run(world(2));
  EXPECT_THAT(run.join(rank(0), 4).error().message, HasSubstr("started for 4 workers, the run has 2"));
  EXPECT_TRUE(run.join(rank(0), 2));
}

TEST(CoordinatorJoin, RefusesAnotherGenerationAndAFrameThatIsNoJoin) {
  Driver run(world(1));
  FrameHeader header;
  header.type = FrameType::kJoin;
  header.generation = 2;
  const std::string join = encode(Join());
  const auto bytes = std::as_bytes(std::span(join));
  EXPECT_EQ(run.machine.join(rank(0), header, bytes, run.now).error().code, Errc::kMismatch);
  header.generation = 1;
  EXPECT_EQ(run.machine.join(rank(0), header, bytes.first(bytes.size() - 1), run.now).error().code, Errc::kProtocol);
  header.type = FrameType::kProgress;
  EXPECT_EQ(run.machine.join(rank(0), header, bytes, run.now).error().code, Errc::kProtocol);
}

TEST(CoordinatorGather, GivesEveryWorkerAllContributionsInRankOrder) {
  Driver run(world(2));
  run.join_all();
  run.contribute(rank(1), "one");
  EXPECT_TRUE(run.told_nothing(rank(1)));
  run.contribute(rank(0), "zero");
  const Reply first = run.reply(rank(1), FrameType::kGathered);
  const Reply second = run.reply(rank(0), FrameType::kGathered);
  EXPECT_EQ(first.request, 101u);
  EXPECT_EQ(second.request, 102u);
  EXPECT_THAT(first.values, ElementsAre("zero", "one"));
  EXPECT_EQ(first.values, second.values);
  EXPECT_FALSE(run.machine.next_deadline());
}

TEST(CoordinatorGather, NamesWhoIsMissingAtTheDeadline) {
  Driver run(world(4));
  for (const int who : {0, 1, 3}) EXPECT_TRUE(run.join(rank(who)));
  run.progress(rank(3), 17);
  run.contribute(rank(0), "", seconds(5));
  run.contribute(rank(1), "", seconds(9));
  EXPECT_EQ(run.machine.next_deadline(), run.now + seconds(5));
  run.pass(seconds(5));
  const Reply late = run.reply(rank(0), FrameType::kGathered);
  EXPECT_FALSE(late.ok);
  EXPECT_EQ(late.code, Errc::kTimeout);
  EXPECT_EQ(late.text, "waiting for rank 2 (has not joined), rank 3 on node3 (last at step 17)");
  EXPECT_TRUE(run.told_nothing(rank(1)));
  EXPECT_EQ(run.machine.next_deadline(), run.now + seconds(4));
}

TEST(CoordinatorGather, NamesAtMostEightOfThoseMissing) {
  Driver run(world(20));
  EXPECT_TRUE(run.join(rank(0)));
  run.contribute(rank(0), "", seconds(1));
  run.pass(seconds(1));
  EXPECT_THAT(run.reply(rank(0), FrameType::kGathered).text, HasSubstr("rank 8 (has not joined) and 11 more"));
}

TEST(CoordinatorGather, RefusesContributionsThatTogetherDoNotFitAFrame) {
  Driver run(world(2));
  run.join_all();
  run.contribute(rank(0), std::string(600 << 10, 'x'));
  run.contribute(rank(1), std::string(600 << 10, 'x'));
  const Reply refusal = run.reply(rank(0), FrameType::kGathered);
  EXPECT_FALSE(refusal.ok);
  EXPECT_EQ(refusal.code, Errc::kUsage);
  EXPECT_FALSE(run.reply(rank(1), FrameType::kGathered).ok);
}

class CoordinatorStore : public ::testing::Test {
 protected:
  CoordinatorStore() { run.join_all(); }
  void ask(MemberId from, StoreVerb verb, std::vector<std::string> keys, std::string value = "",
           std::int64_t amount = 0) {
    StoreRequest message;
    message.request = ++run.request;
    message.wait_ns = Duration(seconds(5)).count();
    message.verb = verb;
    message.keys = std::move(keys);
    message.value = std::move(value);
    message.amount = amount;
    run.say(from, FrameType::kStoreRequest, message);
  }
  Reply answer(MemberId who) { return run.reply(who, FrameType::kStoreReply); }

  Driver run{world(2, 1, 1)};
};

TEST_F(CoordinatorStore, AnswersAGetWhenSomebodySetTheKey) {
  ask(rank(0), StoreVerb::kGet, {"id"});
  EXPECT_TRUE(run.told_nothing(rank(0)));
  ask(shard(0), StoreVerb::kSet, {"id"}, "value");
  EXPECT_TRUE(answer(shard(0)).ok);
  const Reply value = answer(rank(0));
  EXPECT_EQ(value.request, 101u);
  EXPECT_THAT(value.values, ElementsAre("value"));
  ask(rank(1), StoreVerb::kGet, {"id"});
  EXPECT_THAT(answer(rank(1)).values, ElementsAre("value"));
}

TEST_F(CoordinatorStore, TellsALateGetThatNobodySetTheKey) {
  ask(rank(0), StoreVerb::kGet, {"id"});
  run.pass(seconds(5));
  const Reply late = answer(rank(0));
  EXPECT_EQ(late.code, Errc::kTimeout);
  EXPECT_THAT(late.text, HasSubstr("'id'"));
}

TEST_F(CoordinatorStore, CountsWithAddAndWakesThoseWhoWaitForTheKey) {
  ask(rank(1), StoreVerb::kGet, {"count"});
  ask(rank(0), StoreVerb::kAdd, {"count"}, "", 2);
  EXPECT_EQ(answer(rank(0)).number, 2);
  EXPECT_THAT(answer(rank(1)).values, ElementsAre("2"));
  ask(rank(0), StoreVerb::kAdd, {"count"}, "", -5);
  EXPECT_EQ(answer(rank(0)).number, -3);
  ask(rank(0), StoreVerb::kSet, {"count"}, "many");
  EXPECT_TRUE(answer(rank(0)).ok);
  ask(rank(0), StoreVerb::kAdd, {"count"}, "", 1);
  EXPECT_EQ(answer(rank(0)).code, Errc::kUsage);
}

TEST_F(CoordinatorStore, SaysWhatItContainsAndErases) {
  ask(rank(0), StoreVerb::kSet, {"a"}, "");
  EXPECT_TRUE(answer(rank(0)).ok);
  ask(agent(0), StoreVerb::kContains, {"a", "b"});
  EXPECT_EQ(answer(agent(0)).number, 0);
  ask(rank(0), StoreVerb::kErase, {"a"});
  EXPECT_EQ(answer(rank(0)).number, 1);
  ask(rank(0), StoreVerb::kErase, {"a"});
  EXPECT_EQ(answer(rank(0)).number, 0);
}

TEST(CoordinatorFrames, DropsAnOlderGenerationAndRefusesANewerOne) {
  Driver run(world(1));
  run.join_all();
  EXPECT_TRUE(run.frame(rank(0), FrameType::kContribute, "not even a message", 0, 0));
  EXPECT_EQ(run.machine.stale_frames(), 1u);
  EXPECT_EQ(run.frame(rank(0), FrameType::kProgress, "", 0, 2).error().code, Errc::kProtocol);
}

TEST(CoordinatorFrames, RefusesWhatARoleNeverSends) {
  Driver run(world(1, 1, 1));
  run.join_all();
  const std::string contribute = encode(Contribute());
  EXPECT_EQ(run.frame(shard(0), FrameType::kContribute, contribute).error().code, Errc::kProtocol);
  EXPECT_EQ(run.frame(agent(0), FrameType::kLeave, encode(Leave())).error().code, Errc::kProtocol);
  EXPECT_EQ(run.frame(rank(0), FrameType::kChildExited, encode(ChildExited())).error().code, Errc::kProtocol);
  EXPECT_EQ(run.frame(rank(0), FrameType::kAgentDone, "").error().code, Errc::kProtocol);
  EXPECT_EQ(run.frame(rank(0), FrameType::kPush, "").error().code, Errc::kProtocol);
  EXPECT_EQ(run.frame(rank(0), FrameType::kJoin, encode(Join())).error().code, Errc::kProtocol);
}

TEST(CoordinatorFrames, RefusesAMessageThatIsCutAndAnAgentsWordOnAStranger) {
  Driver run(world(1, 0, 1));
  run.join_all();
  EXPECT_EQ(run.frame(rank(0), FrameType::kContribute, "cut").error().code, Errc::kProtocol);
  EXPECT_EQ(run.frame(rank(0), FrameType::kStoreRequest, encode(StoreRequest())).error().code, Errc::kProtocol);
  EXPECT_EQ(run.frame(agent(0), FrameType::kChildExited, encode(ChildExited{rank(1), 9, 0, ""})).error().code,
            Errc::kProtocol);
  EXPECT_EQ(run.frame(agent(0), FrameType::kChildExited, encode(ChildExited{agent(0), 9, 0, ""})).error().code,
            Errc::kProtocol);
}

}  // namespace
}  // namespace tutti::testing
