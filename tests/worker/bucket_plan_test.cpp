// SPDX-License-Identifier: Apache-2.0
#include "worker/bucket_plan.h"

#include <gtest/gtest.h>

#include <set>

namespace tutti::worker {
namespace {

std::vector<PlannedParameter> parameters(std::initializer_list<std::uint64_t> elements, DType dtype = DType::kFloat32) {
  std::vector<PlannedParameter> result;
  for (const std::uint64_t n : elements) result.push_back({"p" + std::to_string(result.size()), dtype, -1, n});
  return result;
}

std::vector<Bucket> plan(const std::vector<PlannedParameter>& list, const BucketLimits& limits) {
  return plan_buckets(list, reverse_order(list.size()), limits);
}

TEST(BucketPlan, HoldsEveryParameterOnceAndAligned) {
  const auto list = parameters({5, 1000, 3, 77, 1, 4096, 12});
  std::set<std::uint32_t> seen;
  for (const Bucket& bucket : plan(list, {4096, 256})) {
    std::uint64_t end = 0;
    for (const BucketEntry& entry : bucket.entries) {
      EXPECT_TRUE(seen.insert(entry.parameter).second);
      EXPECT_EQ(entry.elements, list[entry.parameter].elements);
      EXPECT_EQ(entry.offset * 4 % 64, 0u);
      EXPECT_GE(entry.offset, end);
      end = entry.offset + entry.elements;
    }
    EXPECT_GE(bucket.elements, end);
  }
  EXPECT_EQ(seen.size(), list.size());
}

TEST(BucketPlan, TakesParametersInReverseOrder) {
  const auto buckets = plan(parameters({10, 10, 10}), {1 << 20, 1 << 20});
  ASSERT_EQ(buckets.size(), 1u);
  EXPECT_EQ(buckets[0].entries[0].parameter, 2u);
  EXPECT_EQ(buckets[0].entries[2].parameter, 0u);
}

TEST(BucketPlan, FollowsTheOrderInWhichGradientsCome) {
  const auto buckets = plan_buckets(parameters({16, 16, 16, 16}), {2, 0, 3, 1}, {/*max*/ 64, /*edge*/ 64});
  ASSERT_EQ(buckets.size(), 4u);
  EXPECT_EQ(buckets[0].entries[0].parameter, 2u);
  EXPECT_EQ(buckets[1].entries[0].parameter, 0u);
  EXPECT_EQ(buckets[2].entries[0].parameter, 3u);
  EXPECT_EQ(buckets[3].entries[0].parameter, 1u);
}

TEST(BucketPlan, MakesTheFirstAndTheLastBucketSmall) {
  const auto buckets = plan(parameters({16, 16, 64, 64, 64, 64, 16, 16}), {/*max*/ 512, /*edge*/ 128});
  ASSERT_GE(buckets.size(), 3u);
  EXPECT_EQ(buckets.front().entries.size(), 2u);
  EXPECT_EQ(buckets.back().entries.size(), 2u);
  for (std::size_t b = 1; b + 1 < buckets.size(); ++b) EXPECT_LE(buckets[b].elements * 4, 512u);
}

TEST(BucketPlan, PutsOversizedParameterAlone) {
  for (const Bucket& bucket : plan(parameters({10, 100'000, 10}), {1024, 256})) {
    if (bucket.elements > 1000) {
      EXPECT_EQ(bucket.entries.size(), 1u);
    }
  }
}

TEST(BucketPlan, KeepsDtypesAndDevicesApart) {
  auto list = parameters({10, 10, 10, 10});
  list[1].dtype = DType::kFloat64;
  list[2].device = 0;
  for (const Bucket& bucket : plan(list, {1 << 20, 1 << 20})) {
    for (const BucketEntry& entry : bucket.entries) {
      EXPECT_EQ(list[entry.parameter].dtype, bucket.dtype);
      EXPECT_EQ(list[entry.parameter].device, bucket.device);
    }
  }
}

TEST(BucketPlan, TellsWhoseGradientAnElementIs) {
  for (const Bucket& bucket : plan(parameters({10, 100, 10, 1000}), {4096, 1024})) {
    for (const BucketEntry& entry : bucket.entries) {
      EXPECT_EQ(parameter_at(bucket, entry.offset), entry.parameter);
      EXPECT_EQ(parameter_at(bucket, entry.offset + entry.elements - 1), entry.parameter);
    }
  }
}

TEST(BucketPlan, OfNoParametersIsEmpty) {
  EXPECT_TRUE(plan({}, {}).empty());
}

}  // namespace
}  // namespace tutti::worker
