// SPDX-License-Identifier: Apache-2.0
#include "worker/step_votes.h"

#include <gmock/gmock.h>

namespace tutti::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Outcome count_all(const std::vector<Ballot>& ballots) {
  const int ranks = static_cast<int>(ballots.size());
  std::vector<double> sums(votes_in(ranks)), place(votes_in(ranks), 7);
  for (int rank = 0; rank < ranks; ++rank) {
    cast(ballots[static_cast<std::size_t>(rank)], rank, place);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += place[i];
  }
  return count(sums);
}

TEST(StepVotes, OfNobodySayNothing) {
  const Outcome outcome = count_all({{}, {}, {}});
  EXPECT_FALSE(outcome.wishes.stop);
  EXPECT_THAT(outcome.done, IsEmpty());
  EXPECT_THAT(outcome.not_finite, IsEmpty());
}

TEST(StepVotes, OneRankStopsAll) {
  EXPECT_TRUE(count_all({{}, {.wishes = {.stop = true}}, {}}).wishes.stop);
  EXPECT_TRUE(
      count_all({{.wishes = {.stop = true}}, {.wishes = {.stop = true}}, {.wishes = {.stop = true}}}).wishes.stop);
}

TEST(StepVotes, NameEachRankAndItsParameter) {
  const std::uint32_t last = 4'000'000'000;
  const Outcome outcome = count_all({{}, {.not_finite = 0}, {.done = true}, {.not_finite = last}});
  EXPECT_THAT(outcome.not_finite, ElementsAre(Outcome::NotFinite{1, 0}, Outcome::NotFinite{3, last}));
  EXPECT_THAT(outcome.done, ElementsAre(2));
}

TEST(StepVotes, OfOneRankDoNotHideAnothers) {
  const Outcome outcome =
      count_all({{.wishes = {.stop = true}, .not_finite = 5}, {.wishes = {.stop = true}, .done = true}});
  EXPECT_TRUE(outcome.wishes.stop);
  EXPECT_THAT(outcome.done, ElementsAre(1));
  EXPECT_THAT(outcome.not_finite, ElementsAre(Outcome::NotFinite{0, 5}));
}

TEST(StepVotes, TakeTheFirstParameterThatTheExchangeFoundOfEachRank) {
  Outcome outcome = count_all({{}, {}, {.not_finite = 4}});
  add_not_finite(outcome, 1, 7);
  add_not_finite(outcome, 1, 3);
  add_not_finite(outcome, 2, 5);
  add_not_finite(outcome, kOnlyTheSum, 9);
  using NotFinite = Outcome::NotFinite;
  EXPECT_THAT(outcome.not_finite, ElementsAre(NotFinite{kOnlyTheSum, 9}, NotFinite{1, 7}, NotFinite{2, 4}));
}

using Decision = NanGuard::Decision;
const Outcome kFinite{};
const Outcome kNan{.wishes = {}, .done = {}, .not_finite = {{1, 2}}};

TEST(NanGuard, SkipsTwoInARowAndHaltsAtTheThird) {
  NanGuard guard(NanPolicy::kSkip);
  EXPECT_EQ(guard.judge(kNan), Decision::kSkip);
  EXPECT_EQ(guard.judge(kNan), Decision::kSkip);
  EXPECT_EQ(guard.judge(kFinite), Decision::kTake);
  EXPECT_EQ(guard.judge(kNan), Decision::kSkip);
  EXPECT_EQ(guard.judge(kNan), Decision::kSkip);
  EXPECT_EQ(guard.judge(kNan), Decision::kHalt);
}

TEST(NanGuard, HaltsAtTheFirstOrLooksAtNothingWhereItIsToldTo) {
  NanGuard halts(NanPolicy::kHalt);
  EXPECT_EQ(halts.judge(kFinite), Decision::kTake);
  EXPECT_EQ(halts.judge(kNan), Decision::kHalt);
  NanGuard ignores(NanPolicy::kIgnore);
  EXPECT_FALSE(ignores.looks());
  EXPECT_EQ(ignores.judge(kNan), Decision::kTake);
}

TEST(NanPolicy, IsReadFromTheConfiguration) {
  EXPECT_EQ(nan_policy_of("skip"), NanPolicy::kSkip);
  EXPECT_EQ(nan_policy_of("halt"), NanPolicy::kHalt);
  EXPECT_EQ(nan_policy_of("ignore"), NanPolicy::kIgnore);
}

}  // namespace
}  // namespace tutti::worker
