// SPDX-License-Identifier: Apache-2.0
#include "ps/reduce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "ps/half.h"
#include "tests/ps/reference.h"

namespace tutti::ps {
namespace {

// Not a multiple of any block or vector, and more than one block of each dtype.
constexpr std::size_t kReducedElements = 20011;
// One sum in some ten thousand lies so near the middle of two 16-bit numbers that the last bit of float32 decides.
constexpr std::size_t kManyElements = 20 * kReducedElements;

std::vector<Bytes> contributions_of(DType dtype, int ranks, std::size_t elements, unsigned seed = 7) {
  std::mt19937 random(seed);
  std::vector<Bytes> contributions;
  for (int rank = 0; rank < ranks; ++rank) contributions.push_back(random_bytes(dtype, elements, random));
  return contributions;
}

std::vector<const std::byte*> pointers(const std::vector<Bytes>& contributions) {
  std::vector<const std::byte*> places;
  for (const Bytes& contribution : contributions) places.push_back(contribution.data());
  return places;
}

Bytes reduced(DType dtype, Reduction reduction, const std::vector<Bytes>& contributions) {
  Bytes result(contributions.front().size());
  reduce(dtype, reduction, pointers(contributions), result);
  return result;
}

struct Case {
  DType dtype;
  Reduction reduction;
};

class Reduce : public testing::TestWithParam<Case> {};

TEST_P(Reduce, EqualsThePlainLoopInRankOrder) {
  const auto [dtype, reduction] = GetParam();
  for (const int ranks : {1, 2, 3, 4, 7}) {
    for (const std::size_t elements : {std::size_t{1}, std::size_t{63}, kReducedElements}) {
      const auto contributions = contributions_of(dtype, ranks, elements);
      EXPECT_TRUE(reduced(dtype, reduction, contributions) == reference_reduce(dtype, reduction, contributions))
          << ranks << " ranks, " << elements << " elements";
    }
  }
}

TEST_P(Reduce, WritesTheSameIntoTheFirstContribution) {
  const auto [dtype, reduction] = GetParam();
  auto contributions = contributions_of(dtype, 3, kReducedElements);
  const Bytes expected = reference_reduce(dtype, reduction, contributions);
  reduce(dtype, reduction, pointers(contributions), contributions.front());
  EXPECT_TRUE(contributions.front() == expected);
}

TEST_P(Reduce, WritesTheSameOverEveryContribution) {
  const auto [dtype, reduction] = GetParam();
  for (const int ranks : {1, 2, 5, 8, 9, 17}) {
    auto contributions = contributions_of(dtype, ranks, kReducedElements);
    const Bytes expected = reference_reduce(dtype, reduction, contributions);
    std::vector<std::byte*> places;
    for (Bytes& contribution : contributions) places.push_back(contribution.data());
    reduce_to_all(dtype, reduction, pointers(contributions), places, expected.size());
    EXPECT_EQ(std::count(contributions.begin(), contributions.end(), expected), ranks);
  }
}

TEST_P(Reduce, WritesToPlacesInAnyOrderAndLeavesTheOthers) {
  const auto [dtype, reduction] = GetParam();
  auto contributions = contributions_of(dtype, 3, kReducedElements);
  const std::vector<Bytes> before = contributions;
  const Bytes expected = reference_reduce(dtype, reduction, contributions);
  Bytes elsewhere(expected.size());
  std::byte* const places[] = {contributions[2].data(), elsewhere.data(), contributions[1].data()};
  reduce_to_all(dtype, reduction, pointers(contributions), places, expected.size());
  EXPECT_TRUE(contributions[0] == before[0]);
  EXPECT_TRUE(contributions[1] == expected);
  EXPECT_TRUE(contributions[2] == expected);
  EXPECT_TRUE(elsewhere == expected);
}

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (int i = 0; i < kDTypeCount; ++i) {
    for (const Reduction reduction : {Reduction::kAverage, Reduction::kSum}) {
      const auto dtype = static_cast<DType>(i);
      if (can_reduce(dtype, reduction)) cases.push_back({dtype, reduction});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(EveryDType, Reduce, testing::ValuesIn(every_case()), [](const auto& info) {
  return std::string(name_of(info.param.dtype)) + (info.param.reduction == Reduction::kSum ? "Sum" : "Average");
});

class ReduceFloating : public testing::TestWithParam<DType> {};

TEST_P(ReduceFloating, WouldDifferIfTheOrderWereReversed) {
  const auto contributions = contributions_of(GetParam(), 7, kManyElements);
  const Bytes result = reduced(GetParam(), Reduction::kAverage, contributions);
  EXPECT_TRUE(result != reference_reduce(GetParam(), Reduction::kAverage, contributions, SumLoop::kReversedOrder));
}

TEST_P(ReduceFloating, WouldDifferIfItMultipliedByTheReciprocal) {
  const auto contributions = contributions_of(GetParam(), 7, kManyElements);
  const Bytes result = reduced(GetParam(), Reduction::kAverage, contributions);
  EXPECT_TRUE(result != reference_reduce(GetParam(), Reduction::kAverage, contributions, SumLoop::kReciprocal));
}

INSTANTIATE_TEST_SUITE_P(EveryDType, ReduceFloating,
                         testing::Values(DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kFloat16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(ReduceOfZeros, KeepsTheSignOfNegativeZero) {
  const float zeros[] = {-0.0f, -0.0f};
  Bytes zero(sizeof zeros);
  std::memcpy(zero.data(), zeros, sizeof zeros);
  const Bytes result = reduced(DType::kFloat32, Reduction::kAverage, {zero, zero});
  EXPECT_EQ(result, zero);
}

TEST(ReduceOfIntegers, WrapsAround) {
  const auto bytes_of = [](std::int32_t value) {
    Bytes bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  };
  EXPECT_EQ(reduced(DType::kInt32, Reduction::kSum, {bytes_of(INT32_MAX), bytes_of(1)}), bytes_of(INT32_MIN));
}

TEST(Divide, MakesTheAverageOfASum) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    const auto contributions = contributions_of(dtype, 3, kReducedElements);
    Bytes sum = reduced(dtype, Reduction::kSum, contributions);
    divide(dtype, sum, 3);
    EXPECT_TRUE(sum == reference_reduce(dtype, Reduction::kAverage, contributions)) << name_of(dtype);
    EXPECT_FALSE(sum == reference_reduce(dtype, Reduction::kAverage, contributions, SumLoop::kReciprocal));
  }
}

TEST(Divide, RoundsSixteenBitsOnce) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    Bytes divided = contributions_of(dtype, 1, kReducedElements).front();
    Bytes expected = divided;
    divide(dtype, divided, 7);
    for (std::size_t i = 0; i < kReducedElements; ++i) {
      std::uint16_t bits;
      std::memcpy(&bits, expected.data() + 2 * i, sizeof bits);
      bits = dtype == DType::kBFloat16 ? bfloat16_from_float(float_from_bfloat16(bits) / 7)
                                       : float16_from_float(float_from_float16(bits) / 7);
      std::memcpy(expected.data() + 2 * i, &bits, sizeof bits);
    }
    EXPECT_TRUE(divided == expected) << name_of(dtype);
  }
}

TEST(ReduceWhileFinite, LeavesTheInputsWhereItStops) {
  std::vector<float> first(100, 1), second(100, 2);
  second[70] = std::nanf("");
  const std::byte* const from[] = {reinterpret_cast<const std::byte*>(first.data()),
                                   reinterpret_cast<const std::byte*>(second.data())};
  const std::size_t summed =
      reduce_while_finite(DType::kFloat32, Reduction::kSum, from, std::as_writable_bytes(std::span(first)));
  ASSERT_LE(summed, 70u);
  for (std::size_t i = 0; i < first.size(); ++i) ASSERT_EQ(first[i], i < summed ? 3 : 1) << i;
  second[70] = 2;
  EXPECT_EQ(reduce_while_finite(DType::kFloat32, Reduction::kSum, from, std::as_writable_bytes(std::span(first))),
            100u);
}

TEST(ReduceWhileFinite, TakesIntegersAsTheyCome) {
  std::vector<std::int32_t> numbers(100, 0x7f800000);
  const std::byte* const from[] = {reinterpret_cast<const std::byte*>(numbers.data())};
  EXPECT_EQ(reduce_while_finite(DType::kInt32, Reduction::kSum, from, std::as_writable_bytes(std::span(numbers))),
            100u);
}

TEST(CanReduce, RefusesTheAverageOfIntegers) {
  EXPECT_FALSE(can_reduce(DType::kInt64, Reduction::kAverage));
  EXPECT_FALSE(can_reduce(DType::kBool, Reduction::kAverage));
  EXPECT_TRUE(can_reduce(DType::kInt64, Reduction::kSum));
  EXPECT_TRUE(can_reduce(DType::kBool, Reduction::kBroadcast));
  EXPECT_TRUE(can_reduce(DType::kFloat16, Reduction::kAverage));
}

TEST(CheckReducible, NamesTheKindThatHasNoAverage) {
  const BucketSpec sum{DType::kInt64, Reduction::kSum, 4}, average{DType::kInt64, Reduction::kAverage, 4};
  EXPECT_TRUE(check_reducible(std::vector{sum, sum}));
  const auto refused = check_reducible(std::vector{sum, average});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kUsage);
  EXPECT_EQ(refused.error().text(), "a bucket of I64 has no average");
}

}  // namespace
}  // namespace tutti::ps
