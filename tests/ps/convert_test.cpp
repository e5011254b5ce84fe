// SPDX-License-Identifier: Apache-2.0
#include "ps/convert.h"

#include <gmock/gmock.h>

#include <cmath>
#include <vector>

namespace tutti::ps {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

TEST(Convert, NarrowsToTheFormatThatIsNamed) {
  const float numbers[] = {1.0f, -2.5f, INFINITY};
  std::uint16_t halves[3] = {};
  narrow(DType::kFloat16, numbers, halves);
  EXPECT_THAT(halves, ElementsAre(0x3c00, 0xc100, 0x7c00));
  narrow(DType::kBFloat16, numbers, halves);
  EXPECT_THAT(halves, ElementsAre(0x3f80, 0xc020, 0x7f80));
}

TEST(Convert, WidensFromTheFormatThatIsNamed) {
  const std::uint16_t halves[] = {0x3c00, 0x8000};
  float numbers[2] = {};
  widen(DType::kFloat16, halves, numbers);
  EXPECT_THAT(numbers, ElementsAre(1.0f, -0.0f));
  widen(DType::kBFloat16, halves, numbers);
  EXPECT_THAT(numbers, ElementsAre(0x1p-7f, -0.0f));
}

TEST(Convert, TakesAnyLengthAndWritesNoMore) {
  for (const std::size_t count : {0, 1, 7, 15, 16, 17, 1000}) {
    const std::vector<float> numbers(count, 1.0f);
    std::vector<std::uint16_t> halves(count + 1, 0xaaaa);
    narrow(DType::kFloat16, numbers, std::span(halves).first(count));
    EXPECT_EQ(halves.back(), 0xaaaa);
    std::vector<float> wide(count + 1, 7.0f);
    widen(DType::kFloat16, std::span(halves).first(count), std::span(wide).first(count));
    EXPECT_EQ(wide.back(), 7.0f);
    wide.pop_back();
    EXPECT_THAT(wide, Each(1.0f)) << count;
  }
}

}  // namespace
}  // namespace tutti::ps
