// SPDX-License-Identifier: Apache-2.0
#include "worker/tensor_numbers.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "ps/half.h"

namespace tutti::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

/// In pieces of this many elements.
template <class Stored>
Distribution distribution_of(const std::vector<Stored>& stored, DType dtype, std::size_t piece) {
  DistributionOf distribution;
  const auto each = [&](auto f) {
    for (std::size_t begin = 0; begin < stored.size(); begin += piece)
      f(std::as_bytes(std::span(stored)).data() + begin * sizeof(Stored), std::min(piece, stored.size() - begin));
  };
  each([&](const std::byte* at, std::size_t elements) { distribution.measure(dtype, at, elements); });
  each([&](const std::byte* at, std::size_t elements) { distribution.count(dtype, at, elements); });
  return distribution.finish();
}

Distribution distribution_of(const std::vector<double>& numbers) {
  return distribution_of(numbers, DType::kFloat64, numbers.size() + 1);
}

/// What a reader of the limits counts, one number after the other.
std::vector<std::uint64_t> count_by(const std::vector<double>& limits, const std::vector<double>& numbers) {
  std::vector<std::uint64_t> counts(limits.size());
  for (const double number : numbers) {
    if (!std::isfinite(number)) continue;
    const auto limit = std::ranges::upper_bound(limits, number);
    ++counts[std::min(static_cast<std::size_t>(limit - limits.begin()), limits.size() - 1)];
  }
  return counts;
}

void expect_distribution(const Distribution& found, const std::vector<double>& numbers) {
  std::vector<double> finite;
  std::ranges::copy_if(numbers, std::back_inserter(finite), [](double x) { return std::isfinite(x); });
  EXPECT_EQ(found.finite, finite.size());
  EXPECT_EQ(found.not_finite, numbers.size() - finite.size());
  EXPECT_EQ(found.min, *std::ranges::min_element(finite));
  EXPECT_EQ(found.max, *std::ranges::max_element(finite));
  long double sum = 0, squares = 0;
  for (const long double x : finite) {
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(found.sum, static_cast<double>(sum), 1e-11 * static_cast<double>(squares));
  EXPECT_NEAR(found.sum_squares / static_cast<double>(squares), 1, 1e-13);
  ASSERT_THAT(found.limits, SizeIs(DistributionOf::kBuckets));
  EXPECT_TRUE(std::ranges::is_sorted(found.limits));
  EXPECT_EQ(found.limits.back(), found.max);
  EXPECT_EQ(found.counts, count_by(found.limits, numbers));
}

/// Numbers as gradients are: most of them small, some of them a hundred times as large.
template <class Number>
std::vector<Number> gradients(std::size_t size) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  std::vector<Number> numbers(size);
  for (Number& number : numbers) number = static_cast<Number>(1e-4 * std::pow(normal(random), 5));
  return numbers;
}

TEST(TensorNumbers, AreCountedAsTheLimitsSay) {
  for (const std::size_t size : {2u, 15u, 16u, 17u, 2048u, 10'007u}) {
    const auto numbers = gradients<float>(size);
    const std::vector<double> same(numbers.begin(), numbers.end());
    for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}, std::size_t{1} << 20})
      expect_distribution(distribution_of(numbers, DType::kFloat32, piece), same);
    const auto wide = gradients<double>(size);
    expect_distribution(distribution_of(wide), wide);
  }
}

TEST(TensorNumbers, OfSixteenBitsAreCountedAsTheNumbersTheyStandFor) {
  std::vector<std::uint16_t> brain, half;
  std::vector<double> of_brain, of_half;
  for (const float number : gradients<float>(5001)) {
    brain.push_back(ps::bfloat16_from_float(number));
    half.push_back(ps::float16_from_float(1000 * number));
    of_brain.push_back(ps::float_from_bfloat16(brain.back()));
    of_half.push_back(ps::float_from_float16(half.back()));
  }
  expect_distribution(distribution_of(brain, DType::kBFloat16, 777), of_brain);
  expect_distribution(distribution_of(half, DType::kFloat16, 777), of_half);
}

TEST(TensorNumbers, OnAnEdgeBelongToTheBucketAbove) {
  std::vector<double> numbers;
  for (int i = 0; i <= 30; ++i) numbers.push_back(i);
  const Distribution found = distribution_of(numbers);
  expect_distribution(found, numbers);
  EXPECT_EQ(found.counts.front(), 1u);
  EXPECT_EQ(found.counts.back(), 2u) << "the greatest has no bucket of its own";
}

TEST(TensorNumbers, ThatAreNoneAreOnlyCounted) {
  std::vector<double> numbers = gradients<double>(5000);
  for (const std::size_t at : {0, 17, 2048, 4999}) numbers[at] = at % 2 == 0 ? kNotANumber : -kInfinity;
  expect_distribution(distribution_of(numbers), numbers);
  const Distribution none = distribution_of({kNotANumber, kInfinity});
  EXPECT_EQ(none.finite, 0u);
  EXPECT_EQ(none.not_finite, 2u);
  EXPECT_THAT(none.counts, IsEmpty());
}

TEST(TensorNumbers, OfAnEmptyTensorAreNone) {
  const Distribution none = distribution_of(std::vector<double>());
  EXPECT_EQ(none.finite + none.not_finite, 0u);
  EXPECT_THAT(none.limits, IsEmpty());
}

TEST(TensorNumbers, ThatAreEqualShareOneBucket) {
  for (const double number : {0.0, -2.5, 1e300}) {
    const Distribution found = distribution_of({number, number, number});
    EXPECT_EQ(found.min, number);
    EXPECT_THAT(found.limits, ElementsAre(number));
    EXPECT_THAT(found.counts, ElementsAre(3));
  }
}

TEST(TensorNumbers, AtTheEndsOfTheirRangeAreToldApart) {
  constexpr double most = std::numeric_limits<double>::max(), least = std::numeric_limits<double>::denorm_min();
  const Distribution wide = distribution_of({-most, 0, most});
  EXPECT_EQ(wide.counts, count_by(wide.limits, {-most, 0, most}));
  EXPECT_EQ(wide.counts.front() + wide.counts[15] + wide.counts.back(), 3u);
  const Distribution narrow = distribution_of({0, least, 30 * least});
  EXPECT_EQ(narrow.counts, count_by(narrow.limits, {0, least, 30 * least}));
  EXPECT_EQ(narrow.counts.back(), 1u);
  const double above = std::nextafter(1.0, 2.0);
  const Distribution near = distribution_of({1, 1, above});
  EXPECT_EQ(near.counts, count_by(near.limits, {1, 1, above}));
  EXPECT_EQ(near.counts.back(), 1u);
}

TEST(TensorNumbers, HaveTheZerosOfASparseTensorAmongThem) {
  const std::vector<double> stored = {-3, 1, 2, 5};
  DistributionOf distribution;
  distribution.measure_zeros(7);
  const std::byte* const at = std::as_bytes(std::span(stored)).data();
  distribution.measure(DType::kFloat64, at, stored.size());
  distribution.count(DType::kFloat64, at, stored.size());
  std::vector<double> dense = stored;
  dense.resize(stored.size() + 7);
  expect_distribution(distribution.finish(), dense);
}

TEST(TensorNumbers, AreSquaredAndAddedInDoublePrecision) {
  const auto numbers = gradients<float>(1'000'003);
  long double squares = 0;
  for (const long double number : numbers) squares += number * number;
  const std::byte* const at = std::as_bytes(std::span(numbers)).data();
  EXPECT_NEAR(sum_of_squares(DType::kFloat32, at, numbers.size()) / static_cast<double>(squares), 1, 1e-14);
  const std::vector<float> great(3, 1e30f);  // whose squares are none of float32
  EXPECT_NEAR(sum_of_squares(DType::kFloat32, std::as_bytes(std::span(great)).data(), 3) / 3e60, 1, 1e-6);
  const std::vector<std::uint16_t> half(100, ps::float16_from_float(0.5f));
  EXPECT_EQ(sum_of_squares(DType::kFloat16, std::as_bytes(std::span(half)).data(), 100), 25);
  const std::vector<float> none = {1, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isnan(sum_of_squares(DType::kFloat32, std::as_bytes(std::span(none)).data(), 2)));
}

}  // namespace
}  // namespace tutti::worker
