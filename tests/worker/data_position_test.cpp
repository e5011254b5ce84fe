// SPDX-License-Identifier: Apache-2.0
#include "worker/data_position.h"

#include <gmock/gmock.h>

#include <map>

#include "tutti/error.h"
#include "worker/sharded_order.h"

namespace tutti::worker {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kBatch = 4;
constexpr std::uint64_t kSeed = 7;
using Count = std::map<std::size_t, int>;

/// Takes at most `steps` of the position's epoch in a world of `ranks`, counting what its ranks see. The position it
/// returns is what a checkpoint would hold.
DataPosition train(DataPosition at, int ranks, std::size_t samples, std::int64_t steps, Count& seen,
                   LastBatch last = LastBatch::kWrap) {
  ShardedOrder order(samples, kBatch, ranks, kSeed, last);
  begin_epoch(order, at);
  for (; steps > 0 && at.step_in_epoch < static_cast<std::int64_t>(order.steps()); --steps) {
    for (int rank = 0; rank < ranks; ++rank) {
      for (const std::size_t sample : order.indices(static_cast<std::size_t>(at.step_in_epoch), rank)) ++seen[sample];
    }
    at.end_step();
  }
  return at.to_go_on_from();
}

TEST(DataPosition, ShowsEverySampleOnceWhenTheWorldGoesFromFourToTwoToThree) {
  Count seen;
  const std::size_t samples = 3 * 16 + 2 * 8 + 3 * 12;
  DataPosition at = train({.epoch = 5, .step = 99}, 4, samples, 3, seen);
  at = train(at, 2, samples, 2, seen);
  at = train(at, 3, samples, 1000, seen);
  EXPECT_EQ(seen.size(), samples);
  for (const auto& [sample, times] : seen) EXPECT_EQ(times, 1) << sample;
  EXPECT_EQ(at.samples_seen(), static_cast<std::int64_t>(samples));
  EXPECT_EQ(at.step, 99 + 3 + 2 + 3);
  EXPECT_EQ(at.epoch, 5);
}

TEST(DataPosition, RepeatsSamplesOnlyAtTheEndOfAnEpochThatWraps) {
  for (std::size_t samples = 60; samples < 110; ++samples) {
    Count seen;
    DataPosition at = train({}, 4, samples, 2, seen);
    at = train(at, 3, samples, 1, seen);
    for (const auto& [sample, times] : seen) EXPECT_EQ(times, 1) << "before the end, sample " << sample;
    at = train(at, 2, samples, 1000, seen);
    EXPECT_EQ(seen.size(), samples);
    int repeats = 0;
    for (const auto& [sample, times] : seen) repeats += times - 1;
    EXPECT_LT(repeats, 8) << samples;
  }
}

TEST(DataPosition, DropsLessThanAStepAtTheEndOfAnEpochThatDrops) {
  for (std::size_t samples = 60; samples < 110; ++samples) {
    Count seen;
    DataPosition at = train({}, 4, samples, 2, seen, LastBatch::kDrop);
    at = train(at, 3, samples, 1000, seen, LastBatch::kDrop);
    for (const auto& [sample, times] : seen) EXPECT_EQ(times, 1) << sample;
    EXPECT_GT(seen.size() + 12, samples);
  }
}

TEST(DataPosition, GoesOnInTheSameOrderInTheSameWorld) {
  ShardedOrder whole(100, kBatch, 3, kSeed), rest(100, kBatch, 3, kSeed);
  DataPosition at, later;
  begin_epoch(whole, at);
  for (int step = 0; step < 4; ++step) at.end_step();
  later = at.to_go_on_from();
  begin_epoch(rest, later);
  EXPECT_EQ(rest.steps(), whole.steps() - 4);
  for (std::size_t step = 0; step < rest.steps(); ++step) {
    for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(rest.indices(step, rank), whole.indices(step + 4, rank));
  }
}

TEST(DataPosition, BeginsTheNextEpochInTheOrderOfItsOwnWorld) {
  Count seen;
  DataPosition at = train({}, 4, 96, 2, seen);
  at = train(at, 2, 96, 1000, seen);
  at.end_epoch();
  ShardedOrder order(96, kBatch, 2, kSeed), fresh(96, kBatch, 2, kSeed);
  begin_epoch(order, at);
  fresh.begin_epoch(1);
  EXPECT_EQ(order.steps(), fresh.steps());
  EXPECT_EQ(order.indices(3, 1), fresh.indices(3, 1));
}

TEST(DataPosition, AtTheEndOfAnEpochHasNoStepLeft) {
  Count seen;
  DataPosition at = train({}, 4, 100, 1000, seen);
  ShardedOrder order(100, kBatch, 1, kSeed);
  begin_epoch(order, at);
  EXPECT_EQ(order.steps(), 0u);
}

TEST(DataPosition, RefusesAnotherDataSetInTheMiddleOfAnEpochOnly) {
  Count seen;
  DataPosition at = train({}, 2, 100, 2, seen);
  ShardedOrder other(101, kBatch, 2, kSeed);
  try {
    begin_epoch(other, at);
    ADD_FAILURE() << "it was not refused";
  } catch (const MismatchError& error) {
    EXPECT_THAT(error.what(), HasSubstr("began with a data set of 100 samples and goes on with one of 101"));
  }
  at.end_epoch();
  EXPECT_NO_THROW(begin_epoch(other, at));
}

TEST(DataPosition, OfALoaderThatTuttiDealsNothingToCountsSteps) {
  DataPosition at;
  at.end_step();
  at.end_step();
  EXPECT_EQ(at.to_go_on_from().step_in_epoch, 2);
  EXPECT_EQ(at.to_go_on_from().samples_before, 0);
}

}  // namespace
}  // namespace tutti::worker
