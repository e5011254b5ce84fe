// SPDX-License-Identifier: Apache-2.0
#include "common/control/gather_table.h"

#include <gmock/gmock.h>

#include "tests/support/times.h"

namespace tutti {
namespace {

using ::testing::ElementsAre;

constexpr GatherKey key(std::uint32_t index, std::uint64_t scope = 0) {
  return {GatherKey::Kind::kCollective, scope, index};
}

TEST(GatherTable, GivesContributionsInRankOrderWhateverOrderTheyCameIn) {
  GatherTable table(3);
  EXPECT_FALSE(table.contribute(key(0), {2, 20, at_second(5)}, "two"));
  EXPECT_FALSE(table.contribute(key(0), {0, 10, at_second(5)}, "zero"));
  const auto complete = table.contribute(key(0), {1, 30, at_second(5)}, "one");
  ASSERT_TRUE(complete);
  EXPECT_THAT(complete->contributions, ElementsAre("zero", "one", "two"));
  ASSERT_EQ(complete->waiters.size(), 3u);
  EXPECT_EQ(complete->waiters[0].request, 20u);
  EXPECT_FALSE(table.next_deadline());
}

TEST(GatherTable, RankThatIsAheadContributesToTheNextGather) {
  GatherTable table(2);
  EXPECT_FALSE(table.contribute(key(0), {0, 1, at_second(5)}, "a0"));
  EXPECT_FALSE(table.contribute(key(1), {0, 2, at_second(5)}, "b0"));
  EXPECT_THAT(table.contribute(key(0), {1, 3, at_second(5)}, "a1")->contributions, ElementsAre("a0", "a1"));
  EXPECT_THAT(table.contribute(key(1), {1, 4, at_second(5)}, "b1")->contributions, ElementsAre("b0", "b1"));
}

TEST(GatherTable, TellsALateWaiterWhoIsMissing) {
  GatherTable table(4);
  table.contribute(key(0), {0, 1, at_second(3)}, "");
  table.contribute(key(0), {2, 2, at_second(5)}, "");
  EXPECT_EQ(table.next_deadline(), at_second(3));
  EXPECT_TRUE(table.expire(at_second(2)).empty());
  const auto late = table.expire(at_second(3));
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].waiter.rank, 0);
  EXPECT_THAT(late[0].missing, ElementsAre(1, 3));
  EXPECT_EQ(table.next_deadline(), at_second(5));
}

TEST(GatherTable, LateRanksContributionStillCounts) {
  GatherTable table(2);
  table.contribute(key(0), {0, 1, at_second(3)}, "zero");
  ASSERT_EQ(table.expire(at_second(4)).size(), 1u);
  const auto complete = table.contribute(key(0), {1, 2, at_second(9)}, "one");
  ASSERT_TRUE(complete);
  EXPECT_THAT(complete->contributions, ElementsAre("zero", "one"));
  ASSERT_EQ(complete->waiters.size(), 1u);
  EXPECT_EQ(complete->waiters[0].rank, 1);
}

TEST(GatherTable, IsCompleteAtOnceForAWorldOfOne) {
  GatherTable table(1);
  EXPECT_THAT(table.contribute(key(0), {0, 1, at_second(3)}, "only")->contributions, ElementsAre("only"));
}

TEST(GatherTable, RepeatedContributionNeitherCountsNorReplacesTheFirst) {
  GatherTable table(2);
  EXPECT_FALSE(table.contribute(key(0), {0, 1, at_second(5)}, "first"));
  EXPECT_FALSE(table.contribute(key(0), {0, 2, at_second(5)}, "again"));
  const auto complete = table.contribute(key(0), {1, 3, at_second(5)}, "one");
  ASSERT_TRUE(complete);
  EXPECT_THAT(complete->contributions, ElementsAre("first", "one"));
  ASSERT_EQ(complete->waiters.size(), 2u);
  EXPECT_EQ(complete->waiters[0].request, 2u) << "the first request is void";
}

TEST(GatherTable, NewcomerGetsWhatTheOthersGot) {
  GatherTable table(2, /*keeps=*/true);
  table.contribute(key(0), {0, 1, at_second(5)}, "zero");
  table.contribute(key(0), {1, 2, at_second(5)}, "one");
  const auto again = table.contribute(key(0), {1, 9, at_second(5)}, "another");
  ASSERT_TRUE(again);
  EXPECT_THAT(again->contributions, ElementsAre("zero", "one"));
  ASSERT_EQ(again->waiters.size(), 1u);
  EXPECT_EQ(again->waiters[0].request, 9u);
}

TEST(GatherTable, ForgetsThePastOfTheStepsButNotWhatCameBeforeThem) {
  GatherTable table(1, /*keeps=*/true);
  for (const GatherKey& of : {key(0, 0), key(0, 1), key(0, 2)}) table.contribute(of, {0, 1, at_second(5)}, "kept");
  table.forget_before(2);
  EXPECT_THAT(table.contribute(key(0, 0), {0, 2, at_second(5)}, "new")->contributions, ElementsAre("kept"));
  EXPECT_THAT(table.contribute(key(0, 1), {0, 3, at_second(5)}, "new")->contributions, ElementsAre("new"));
  EXPECT_THAT(table.contribute(key(0, 2), {0, 4, at_second(5)}, "new")->contributions, ElementsAre("kept"));
}

TEST(GatherTable, KeepsNoMoreThanItsLimit) {
  GatherTable table(1, /*keeps=*/true);
  const std::string large(GatherTable::kKeptBytesMax / 2, 'x');
  for (std::uint32_t index = 0; index < 3; ++index) table.contribute(key(index), {0, 1, at_second(5)}, large);
  EXPECT_THAT(table.contribute(key(0), {0, 2, at_second(5)}, "new")->contributions, ElementsAre("new")) << "forgotten";
  EXPECT_THAT(table.contribute(key(2), {0, 3, at_second(5)}, "new")->contributions, ElementsAre(large));
}

TEST(GatherTable, NewGenerationVoidsWaitsAndMeetingsButNoContribution) {
  GatherTable table(2);
  const GatherKey meeting{GatherKey::Kind::kRegroup, 2, 0};
  table.contribute(key(0), {0, 1, at_second(5)}, "zero");
  table.contribute(meeting, {0, 2, at_second(5)}, "met");
  table.begin_generation();
  EXPECT_FALSE(table.next_deadline());
  EXPECT_THAT(table.contribute(key(0), {1, 3, at_second(5)}, "one")->contributions, ElementsAre("zero", "one"));
  EXPECT_FALSE(table.contribute(meeting, {1, 4, at_second(5)}, "late")) << "the first one's contribution is gone";
}

}  // namespace
}  // namespace tutti
