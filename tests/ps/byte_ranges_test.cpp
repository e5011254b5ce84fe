// SPDX-License-Identifier: Apache-2.0
#include "ps/byte_ranges.h"

#include <gtest/gtest.h>

namespace tutti::ps {
namespace {

TEST(ByteRanges, BecomeOneWhereTheyTouch) {
  ByteRanges ranges;
  add(ranges, {10, 20});
  add(ranges, {30, 40});
  add(ranges, {5, 5});
  EXPECT_EQ(ranges, (ByteRanges{{10, 20}, {30, 40}}));
  add(ranges, {0, 5});
  EXPECT_EQ(ranges, (ByteRanges{{0, 5}, {10, 20}, {30, 40}}));
  add(ranges, {20, 25});
  EXPECT_EQ(ranges, (ByteRanges{{0, 5}, {10, 25}, {30, 40}}));
  add(ranges, {4, 35});
  EXPECT_EQ(ranges, (ByteRanges{{0, 40}}));
  add(ranges, {50, 60});
  EXPECT_EQ(ranges, (ByteRanges{{0, 40}, {50, 60}}));
  EXPECT_TRUE(contains(ranges, 0) && contains(ranges, 39) && contains(ranges, 50));
  EXPECT_FALSE(contains(ranges, 40) || contains(ranges, 60));
}

TEST(ByteRanges, OfAnotherMachineAreChecked) {
  EXPECT_TRUE(are_within({}, 100, 32));
  EXPECT_TRUE(are_within({{0, 100}}, 100, 32));
  EXPECT_TRUE(are_within({{0, 32}, {64, 100}}, 100, 32));
  EXPECT_FALSE(are_within({{0, 101}}, 100, 32));
  EXPECT_FALSE(are_within({{32, 32}}, 100, 32)) << "empty";
  EXPECT_FALSE(are_within({{64, 32}}, 100, 32));
  EXPECT_FALSE(are_within({{64, 96}, {0, 32}}, 100, 32)) << "out of order";
  EXPECT_FALSE(are_within({{0, 32}, {32, 64}}, 100, 32)) << "one range";
  EXPECT_FALSE(are_within({{0, 64}, {32, 96}}, 100, 32)) << "overlapping";
  EXPECT_FALSE(are_within({{0, 33}}, 100, 32)) << "between two units";
  EXPECT_FALSE(are_within({{1, 32}}, 100, 32));
}

}  // namespace
}  // namespace tutti::ps
