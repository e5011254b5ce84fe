// SPDX-License-Identifier: Apache-2.0
#include "ps/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "ps/half.h"
#include "tests/ps/reference.h"

namespace tutti::ps {
namespace {

struct Level {
  const char* name;
  const Kernels* (*kernels)();
};

/// What the levels have of their own.
constexpr DType kFloating[] = {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kFloat16};

class KernelLevel : public testing::TestWithParam<Level> {
 protected:
  void SetUp() override {
    kernels_ = GetParam().kernels();
    if (kernels_ == nullptr) GTEST_SKIP() << "this processor lacks " << GetParam().name;
  }
  const Kernels* kernels_ = nullptr;
};

/// Where the exponent of a dtype lies.
std::uint64_t exponent_mask(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 0x7ff0000000000000;
    case DType::kFloat32:
      return 0x7f800000;
    case DType::kBFloat16:
      return 0x7f80;
    default:
      return 0x7c00;
  }
}

/// Bits without any rule: subnormals, zeros, every magnitude. An element is infinite or no number in one contribution
/// at most: what a sum of two that are no number is has no rule.
std::vector<Bytes> random_bits(DType dtype, std::size_t ranks, std::size_t elements) {
  std::mt19937_64 random(ranks * 1000003 + elements);
  const std::uint64_t exponent = exponent_mask(dtype);
  const std::size_t size = size_of(dtype);
  std::vector<Bytes> contributions(ranks, Bytes(elements * size));
  for (std::size_t i = 0; i < elements; ++i) {
    const std::size_t special = random() % (4 * ranks);
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      std::uint64_t bits = random();
      if (random() % 16 == 0) bits &= ~exponent;
      if (rank == special) bits |= exponent;
      if (rank != special && (bits & exponent) == exponent) bits ^= exponent & -exponent;
      std::memcpy(contributions[rank].data() + i * size, &bits, size);
    }
  }
  return contributions;
}

/// The sums as they stand over the contributions, or in `outputs` other places. One element is left out in front, so
/// that nothing lies on the boundary of a vector.
std::vector<Bytes> sums(const Kernels& kernels, DType dtype, bool average, std::vector<Bytes> contributions,
                        std::size_t outputs = 0) {
  std::vector<const std::byte*> from;
  for (const Bytes& contribution : contributions) from.push_back(contribution.data());
  std::vector<Bytes> apart(outputs, Bytes(contributions.front().size()));
  std::vector<Bytes>& results = outputs == 0 ? contributions : apart;
  std::vector<std::byte*> into;
  for (Bytes& result : results) into.push_back(result.data());
  kernels.sum[static_cast<std::size_t>(dtype)]({.from = from.data(),
                                                .ranks = from.size(),
                                                .into = into.data(),
                                                .outputs = into.size(),
                                                .begin = 1,
                                                .end = contributions.front().size() / size_of(dtype),
                                                .divisor = average ? from.size() : 1});
  return results;
}

TEST_P(KernelLevel, SumsToTheBitsOfThePlainLoop) {
  for (const DType dtype : kFloating) {
    for (const std::size_t ranks : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17}) {
      for (const std::size_t elements : {1, 2, 33, 64, 65, 130, 4099, 9001}) {
        const auto contributions = random_bits(dtype, ranks, elements);
        for (const bool average : {false, true}) {
          const auto expected = sums(*kernels_detail::plain(), dtype, average, contributions, 1).front();
          const auto apart = sums(*kernels_, dtype, average, contributions, 2);
          ASSERT_TRUE(apart[0] == expected && apart[1] == expected)
              << name_of(dtype) << ", " << ranks << " ranks, " << elements << " elements, average " << average;
        }
      }
    }
  }
}

TEST_P(KernelLevel, SumsInPlaceToTheSameBits) {
  for (const DType dtype : kFloating) {
    for (const std::size_t ranks : {1, 2, 3, 8, 9, 17}) {
      const auto contributions = random_bits(dtype, ranks, 9001);
      const auto expected = sums(*kernels_detail::plain(), dtype, true, contributions);
      EXPECT_TRUE(sums(*kernels_, dtype, true, contributions) == expected) << name_of(dtype) << ", " << ranks;
    }
  }
}

TEST_P(KernelLevel, LeavesWhatLiesOutsideTheJob) {
  for (const DType dtype : kFloating) {
    const auto contributions = random_bits(dtype, 2, 200);
    const auto size = static_cast<std::ptrdiff_t>(size_of(dtype));
    const Bytes result = sums(*kernels_, dtype, true, contributions).front();
    EXPECT_TRUE(std::equal(result.begin(), result.begin() + size, contributions.front().begin())) << name_of(dtype);
  }
}

TEST_P(KernelLevel, NegativeZerosStayNegative) {
  const Bytes zeros = [] {
    const std::vector<float> numbers(200, -0.0f);
    Bytes bytes(numbers.size() * sizeof(float));
    std::memcpy(bytes.data(), numbers.data(), bytes.size());
    return bytes;
  }();
  for (const std::size_t ranks : {1, 3, 4, 17}) {
    EXPECT_TRUE(sums(*kernels_, DType::kFloat32, true, std::vector<Bytes>(ranks, zeros)).back() == zeros) << ranks;
  }
}

TEST_P(KernelLevel, TwoThatAreNoNumberAreNone) {
  const std::vector<float> numbers(200, std::bit_cast<float>(0xff800001u));
  Bytes bytes(numbers.size() * sizeof(float));
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  Bytes others(bytes.size(), std::byte{0x7f});
  std::vector<float> result(numbers.size());
  std::memcpy(result.data(), sums(*kernels_, DType::kFloat32, false, {bytes, others}).front().data(), bytes.size());
  for (std::size_t i = 1; i < result.size(); ++i) ASSERT_TRUE(std::isnan(result[i])) << i;
}

float float_of(DType dtype, const std::byte* at) {
  std::uint16_t half;
  std::memcpy(&half, at, sizeof half);
  if (dtype == DType::kBFloat16) return float_from_bfloat16(half);
  if (dtype == DType::kFloat16) return float_from_float16(half);
  double wide = 0;
  float single = 0;
  std::memcpy(&single, at, sizeof single);
  if (dtype == DType::kFloat64) std::memcpy(&wide, at, sizeof wide);
  return dtype == DType::kFloat64 ? static_cast<float>(wide) : single;
}

/// The element at which a job that stops does so, in place of the first contribution.
std::size_t stop_of(const Kernels& kernels, DType dtype, std::vector<Bytes>& contributions) {
  std::vector<const std::byte*> from;
  for (const Bytes& contribution : contributions) from.push_back(contribution.data());
  std::byte* const into = contributions.front().data();
  return kernels.sum[static_cast<std::size_t>(dtype)]({.from = from.data(),
                                                       .ranks = from.size(),
                                                       .into = &into,
                                                       .outputs = 1,
                                                       .begin = 0,
                                                       .end = contributions.front().size() / size_of(dtype),
                                                       .divisor = from.size(),
                                                       .stops = true});
}

TEST_P(KernelLevel, StopsInFrontOfAResultThatIsNotFinite) {
  constexpr std::size_t kElements = 9001;
  for (const DType dtype : kFloating) {
    const std::size_t size = size_of(dtype);
    for (const std::size_t ranks : {1, 2, 3, 8, 9, 17}) {
      const std::vector<Bytes> zeros(ranks, Bytes(kElements * size));
      for (const std::size_t place : {0, 1, 63, 64, 4100, 9000}) {
        auto contributions = zeros;
        const std::uint64_t infinity = exponent_mask(dtype);
        std::memcpy(contributions.back().data() + place * size, &infinity, size);
        const auto before = contributions;
        const std::size_t stop = stop_of(*kernels_, dtype, contributions);
        EXPECT_LE(stop, place) << name_of(dtype) << ", " << ranks;
        EXPECT_TRUE(contributions == before) << "all sums before it are zero, what follows is as it was";
      }
      auto contributions = zeros;
      EXPECT_EQ(stop_of(*kernels_, dtype, contributions), kElements) << name_of(dtype) << ", " << ranks;
    }
  }
}

TEST_P(KernelLevel, WritesToAllPlacesWhatComesBeforeTheStop) {
  constexpr std::size_t kElements = 9001, kBad = 8000;
  for (const std::size_t ranks : {2, 3, 8, 9, 17}) {
    std::vector<std::vector<float>> buckets(ranks, std::vector<float>(kElements, 1.0f));
    buckets[1][kBad] = std::numeric_limits<float>::infinity();
    std::vector<const std::byte*> from;
    std::vector<std::byte*> into;
    for (auto& bucket : buckets) {
      from.push_back(reinterpret_cast<const std::byte*>(bucket.data()));
      into.push_back(reinterpret_cast<std::byte*>(bucket.data()));
    }
    const std::size_t stop = kernels_->sum[static_cast<std::size_t>(DType::kFloat32)](
        {from.data(), ranks, into.data(), ranks, 0, kElements, 1, /*stops=*/true});
    EXPECT_LE(stop, kBad);
    EXPECT_GT(stop, kBad - 5000);
    for (const auto& bucket : buckets) {
      const auto is = [&](float value) { return [value](float other) { return value == other; }; };
      EXPECT_TRUE(std::all_of(bucket.begin(), bucket.begin() + static_cast<std::ptrdiff_t>(stop), is(float(ranks))));
      EXPECT_EQ(std::ranges::count(bucket, 1.0f),
                static_cast<std::ptrdiff_t>(kElements - stop - (&bucket == &buckets[1] ? 1 : 0)));
    }
  }
}

TEST_P(KernelLevel, SumsAllThatStayFiniteAndStopsWhereASumDoesNot) {
  for (const DType dtype : kFloating) {
    const std::size_t size = size_of(dtype), elements = 2'000;
    const std::uint64_t infinity = exponent_mask(dtype), largest = infinity - 1;
    std::vector<Bytes> contributions(2, Bytes(elements * size));
    for (std::size_t i = 0; i < elements; ++i) std::memcpy(contributions[0].data() + i * size, &largest, size);
    auto doubled = contributions;
    EXPECT_EQ(stop_of(*kernels_, dtype, contributions), elements) << name_of(dtype);
    EXPECT_TRUE(float_of(dtype, contributions[0].data()) > 1000) << name_of(dtype);

    doubled.resize(1);
    doubled.push_back(doubled[0]);
    std::vector<const std::byte*> from = {doubled[0].data(), doubled[1].data()};
    std::byte* const into = doubled[0].data();
    const SumJob sum{.from = from.data(),
                     .ranks = 2,
                     .into = &into,
                     .outputs = 1,
                     .begin = 0,
                     .end = elements,
                     .divisor = 1,
                     .stops = true};
    EXPECT_EQ(kernels_->sum[static_cast<std::size_t>(dtype)](sum), 0u) << name_of(dtype);
    EXPECT_TRUE(doubled[0] == doubled[1]) << name_of(dtype);
  }
}

TEST_P(KernelLevel, WidensEveryHalf) {
  std::vector<std::uint16_t> halves(65536 + 5);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  const auto expect_equal = [&](Kernels::Widen widen, float (*one)(std::uint16_t)) {
    std::vector<float> wide(halves.size());
    widen(halves.data(), wide.data(), halves.size());
    for (std::size_t i = 0; i < wide.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(one(halves[i]))) << halves[i];
    }
  };
  expect_equal(kernels_->widen_from_bfloat16, float_from_bfloat16);
  expect_equal(kernels_->widen_from_float16, float_from_float16);
}

/// Every half, the numbers beside it, the middles between it and the next with the numbers beside those, and others.
std::vector<std::uint32_t> bits_to_narrow() {
  std::vector<std::uint32_t> all;
  for (std::uint32_t half = 0; half <= 0xffff; ++half) {
    const auto bits = static_cast<std::uint16_t>(half);
    for (const float wide : {float_from_bfloat16(bits), float_from_float16(bits)}) {
      for (const std::uint32_t middle : {0u, 0x1000u, 0x8000u}) {
        for (const std::uint32_t beside : {0u, 1u, ~0u}) {
          all.push_back(std::bit_cast<std::uint32_t>(wide) + middle + beside);
        }
      }
    }
  }
  std::mt19937 random(11);
  for (int i = 0; i < 500003; ++i) all.push_back(static_cast<std::uint32_t>(random()));
  return all;
}

TEST_P(KernelLevel, NarrowsToTheBitsOfTheOneByOne) {
  const std::vector<std::uint32_t> bits = bits_to_narrow();
  std::vector<float> wide(bits.size());
  std::memcpy(wide.data(), bits.data(), bits.size() * sizeof(float));
  const auto expect_equal = [&](Kernels::Narrow narrow, std::uint16_t (*one)(float)) {
    std::vector<std::uint16_t> halves(wide.size());
    narrow(wide.data(), halves.data(), wide.size());
    for (std::size_t i = 0; i < wide.size(); ++i) ASSERT_EQ(halves[i], one(wide[i])) << std::hex << bits[i];
  };
  expect_equal(kernels_->narrow_to_bfloat16, bfloat16_from_float);
  expect_equal(kernels_->narrow_to_float16, float16_from_float);
}

INSTANTIATE_TEST_SUITE_P(Every, KernelLevel,
                         testing::Values(Level{"plain", kernels_detail::plain}, Level{"avx2", kernels_detail::avx2},
                                         Level{"avx512", kernels_detail::avx512}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tutti::ps
