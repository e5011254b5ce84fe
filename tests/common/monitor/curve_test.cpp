// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/curve.h"

#include <gmock/gmock.h>

namespace tutti::monitor {
namespace {

using ::testing::ElementsAre;

std::vector<std::int64_t> steps_of_curve(const Curve& curve) {
  std::vector<std::int64_t> steps;
  for (const CurvePoint& point : curve.points()) steps.push_back(point.step);
  return steps;
}

TEST(Curve, KeepsAllPointsUntilThereAreTooMany) {
  Curve curve(8);
  for (int step = 0; step < 7; ++step) curve.add({.step = step});
  EXPECT_THAT(steps_of_curve(curve), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  curve.add({.step = 7});
  EXPECT_THAT(steps_of_curve(curve), ElementsAre(0, 2, 4, 6));
}

TEST(Curve, OfAnyLengthIsBoundedAndEvenFromItsFirstPointToItsLast) {
  constexpr std::size_t kCapacity = 16;
  Curve curve(kCapacity);
  for (int step = 0; step < 10'000; ++step) {
    curve.add(
        {.time_s = step * 0.5, .step = step, .value = -1.0 * step, .number = static_cast<std::uint64_t>(step) + 1});
    ASSERT_LT(curve.points().size(), kCapacity);
    ASSERT_GE(curve.points().size(), std::min<std::size_t>(static_cast<std::size_t>(step) + 1, kCapacity / 2));
  }
  const auto& points = curve.points();
  EXPECT_EQ(points.front().step, 0);
  const std::int64_t apart = points[1].step - points[0].step;
  for (std::size_t i = 1; i < points.size(); ++i) {
    EXPECT_EQ(points[i].step - points[i - 1].step, apart);
    EXPECT_EQ(points[i].value, -1.0 * static_cast<double>(points[i].step)) << "a point stays what it was";
    EXPECT_EQ(points[i].number, static_cast<std::uint64_t>(points[i].step) + 1);
  }
  EXPECT_LT(10'000 - points.back().step, 2 * apart);
}

}  // namespace
}  // namespace tutti::monitor
