// SPDX-License-Identifier: Apache-2.0
#include "ps/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "ps/half.h"

namespace tutti::ps {
namespace {

struct FinitenessLevel {
  const char* name;
  finite_detail::AllFinite (*check)();
};

class FiniteLevel : public ::testing::TestWithParam<FinitenessLevel> {
 protected:
  void SetUp() override {
    check_ = GetParam().check();
    if (check_ == nullptr) GTEST_SKIP() << "this processor lacks " << GetParam().name;
  }
  template <class Number>
  bool all_finite(DType dtype, const std::vector<Number>& numbers) const {
    return check_(dtype, reinterpret_cast<const std::byte*>(numbers.data()), numbers.size());
  }
  /// Every place in vectors of every length up to a few of the processor's.
  template <class Number>
  void expect_found_everywhere(DType dtype, Number usual, Number special) const {
    for (std::size_t size = 1; size < 140; ++size) {
      std::vector<Number> numbers(size, usual);
      EXPECT_TRUE(all_finite(dtype, numbers)) << size;
      for (std::size_t at = 0; at < size; ++at) {
        numbers[at] = special;
        EXPECT_FALSE(all_finite(dtype, numbers)) << at << " of " << size;
        numbers[at] = usual;
      }
    }
  }
  finite_detail::AllFinite check_ = nullptr;
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST_P(FiniteLevel, FindsWhatIsNoNumberOrInfiniteAtEveryPlace) {
  for (const double special : {HUGE_VAL, -HUGE_VAL, std::nan(""), -std::nan("")}) {
    const auto narrow = static_cast<float>(special);
    expect_found_everywhere(DType::kFloat64, std::numeric_limits<double>::lowest(), special);
    expect_found_everywhere(DType::kFloat32, std::numeric_limits<float>::max(), narrow);
    expect_found_everywhere(DType::kBFloat16, bfloat16_from_float(-1), bfloat16_from_float(narrow));
    expect_found_everywhere(DType::kFloat16, float16_from_float(65504), float16_from_float(narrow));
  }
}

TEST_P(FiniteLevel, TakesTheSmallestPayloadForNoNumber) {
  std::uint32_t bits = 0x7f800001;
  float signalling = 0;
  std::memcpy(&signalling, &bits, sizeof bits);
  EXPECT_FALSE(all_finite(DType::kFloat32, std::vector<float>{0, signalling}));
}

TEST_P(FiniteLevel, LetsEveryFiniteNumberPass) {
  // All of 16 bits, and as float32 with each exponent.
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float wide = float_from_bfloat16(half);
    EXPECT_EQ(all_finite(DType::kBFloat16, std::vector{half}), std::isfinite(wide)) << bits;
    EXPECT_EQ(all_finite(DType::kFloat32, std::vector{wide}), std::isfinite(wide)) << bits;
    EXPECT_EQ(all_finite(DType::kFloat16, std::vector{half}), std::isfinite(float_from_float16(half))) << bits;
  }
  EXPECT_TRUE(all_finite(DType::kFloat64, std::vector<double>{std::numeric_limits<double>::denorm_min(), -0.0}));
  EXPECT_TRUE(all_finite(DType::kFloat32, std::vector<float>{}));
}

TEST_P(FiniteLevel, HasNothingAgainstIntegers) {
  EXPECT_TRUE(all_finite(DType::kInt32, std::vector<std::int32_t>{0x7f800000, -1}));
  EXPECT_TRUE(all_finite(DType::kBool, std::vector<std::uint8_t>{255}));
}

TEST(Finite, TakesTheBestLevelThatIsThere) {
  const std::vector<float> numbers{1, kInfinity};
  const auto* bytes = reinterpret_cast<const std::byte*>(numbers.data());
  EXPECT_TRUE(all_finite(DType::kFloat32, bytes, 1));
  EXPECT_EQ(first_not_finite(DType::kFloat32, bytes, 2), 1u);
  EXPECT_EQ(first_not_finite(DType::kFloat32, bytes, 1), std::nullopt);
  EXPECT_FALSE(all_finite(DType::kFloat32, bytes, 2));
}

INSTANTIATE_TEST_SUITE_P(Levels, FiniteLevel,
                         ::testing::Values(FinitenessLevel{"plain", finite_detail::plain},
                                           FinitenessLevel{"avx2", finite_detail::avx2}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tutti::ps
