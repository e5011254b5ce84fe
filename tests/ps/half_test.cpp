// SPDX-License-Identifier: Apache-2.0
#include "ps/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tutti::ps {
namespace {

/// Every positive finite value of a format, in order, and the halfway points between neighbours decide the rounding.
template <float (*widen)(std::uint16_t) noexcept, std::uint16_t (*narrow)(float) noexcept>
void rounds_to_the_nearest_even(std::uint16_t infinity) {
  for (std::uint16_t bits = 0; bits + 1 < infinity; ++bits) {
    const double low = widen(bits);
    const double high = widen(static_cast<std::uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    const std::uint16_t even = bits % 2 == 0 ? bits : static_cast<std::uint16_t>(bits + 1);
    ASSERT_EQ(narrow(middle), even) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, INFINITY)), bits + 1) << bits;
    ASSERT_EQ(narrow(-middle), even | 0x8000) << bits;
  }
}

template <float (*widen)(std::uint16_t) noexcept, std::uint16_t (*narrow)(float) noexcept>
void comes_back(std::uint16_t infinity) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if ((half & 0x7fff) > infinity) {
      ASSERT_TRUE(std::isnan(widen(half))) << bits;
    } else {
      ASSERT_EQ(narrow(widen(half)), half) << bits;
    }
  }
}

TEST(Float16, EveryValueComesBack) {
  comes_back<float_from_float16, float16_from_float>(0x7c00);
}
TEST(BFloat16, EveryValueComesBack) {
  comes_back<float_from_bfloat16, bfloat16_from_float>(0x7f80);
}
TEST(Float16, RoundsToTheNearestEven) {
  rounds_to_the_nearest_even<float_from_float16, float16_from_float>(0x7c00);
}
TEST(BFloat16, RoundsToTheNearestEven) {
  rounds_to_the_nearest_even<float_from_bfloat16, bfloat16_from_float>(0x7f80);
}

TEST(Float16, BecomesInfiniteFromHalfwayBeyondTheLargest) {
  EXPECT_EQ(float16_from_float(65519.996f), 0x7bff);
  EXPECT_EQ(float16_from_float(65520.0f), 0x7c00);
  EXPECT_EQ(float16_from_float(-INFINITY), 0xfc00);
}

TEST(Halves, BecomeInfiniteFromTheNamedMagnitudesOn) {
  const auto below = [](float limit) { return std::nextafter(limit, 0.0f); };
  EXPECT_TRUE(std::isinf(float_from_bfloat16(bfloat16_from_float(kBFloat16Beyond))));
  EXPECT_FALSE(std::isinf(float_from_bfloat16(bfloat16_from_float(below(kBFloat16Beyond)))));
  EXPECT_TRUE(std::isinf(float_from_float16(float16_from_float(kFloat16Beyond))));
  EXPECT_FALSE(std::isinf(float_from_float16(float16_from_float(below(kFloat16Beyond)))));
}

TEST(Float16, KnowsItsLandmarks) {
  EXPECT_EQ(float_from_float16(0x3c00), 1.0f);
  EXPECT_EQ(float_from_float16(0x0001), 0x1p-24f);
  EXPECT_EQ(float_from_float16(0x7bff), 65504.0f);
  EXPECT_EQ(float_from_float16(0x7c00), INFINITY);
}

TEST(Halves, StayNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(float16_from_float(nan), 0x7e00);
  EXPECT_EQ(bfloat16_from_float(nan), 0x7fc0);
  EXPECT_EQ(float16_from_float(-nan), 0xfe00);
  EXPECT_EQ(bfloat16_from_float(-nan), 0x7fc0);
}

TEST(Float16, QuietsASignallingNaN) {
  EXPECT_EQ(std::bit_cast<std::uint32_t>(float_from_float16(0x7c01)), 0x7fc02000u);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(float_from_float16(0xfe01)), 0xffc02000u);
}

}  // namespace
}  // namespace tutti::ps
