// SPDX-License-Identifier: Apache-2.0
#include "common/control/gather_table.h"

#include <gmock/gmock.h>

namespace tutti {
namespace {

using ::testing::ElementsAre;

TimePoint at(int seconds) {
  return TimePoint() + std::chrono::seconds(seconds);
}

TEST(GatherTable, GivesContributionsInRankOrderWhateverOrderTheyCameIn) {
  GatherTable table(3);
  EXPECT_FALSE(table.contribute({2, 20, at(5)}, "two"));
  EXPECT_FALSE(table.contribute({0, 10, at(5)}, "zero"));
  const auto complete = table.contribute({1, 30, at(5)}, "one");
  ASSERT_TRUE(complete);
  EXPECT_THAT(complete->contributions, ElementsAre("zero", "one", "two"));
  ASSERT_EQ(complete->waiters.size(), 3u);
  EXPECT_EQ(complete->waiters[0].request, 20u);
  EXPECT_FALSE(table.next_deadline());
}

TEST(GatherTable, RankThatIsAheadContributesToTheNextGather) {
  GatherTable table(2);
  EXPECT_FALSE(table.contribute({0, 1, at(5)}, "a0"));
  EXPECT_FALSE(table.contribute({0, 2, at(5)}, "b0"));
  EXPECT_THAT(table.contribute({1, 3, at(5)}, "a1")->contributions, ElementsAre("a0", "a1"));
  EXPECT_THAT(table.contribute({1, 4, at(5)}, "b1")->contributions, ElementsAre("b0", "b1"));
}

TEST(GatherTable, TellsALateWaiterWhoIsMissing) {
  GatherTable table(4);
  table.contribute({0, 1, at(3)}, "");
  table.contribute({2, 2, at(5)}, "");
  EXPECT_EQ(table.next_deadline(), at(3));
  EXPECT_TRUE(table.expire(at(2)).empty());
  const auto late = table.expire(at(3));
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].waiter.rank, 0);
  EXPECT_THAT(late[0].missing, ElementsAre(1, 3));
  EXPECT_EQ(table.next_deadline(), at(5));
}

TEST(GatherTable, LateRanksContributionStillCounts) {
  GatherTable table(2);
  table.contribute({0, 1, at(3)}, "zero");
  ASSERT_EQ(table.expire(at(4)).size(), 1u);
  const auto complete = table.contribute({1, 2, at(9)}, "one");
  ASSERT_TRUE(complete);
  EXPECT_THAT(complete->contributions, ElementsAre("zero", "one"));
  ASSERT_EQ(complete->waiters.size(), 1u);
  EXPECT_EQ(complete->waiters[0].rank, 1);
}

TEST(GatherTable, IsCompleteAtOnceForAWorldOfOne) {
  GatherTable table(1);
  EXPECT_THAT(table.contribute({0, 1, at(3)}, "only")->contributions, ElementsAre("only"));
}

}  // namespace
}  // namespace tutti
