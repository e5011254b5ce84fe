// SPDX-License-Identifier: Apache-2.0
#include "common/histogram.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

using namespace std::chrono_literals;

TEST(Histogram, CountsWhatTookAsLongAsItsBoundAndNoLonger) {
  for (std::size_t i = 0; i < Histogram::kBounds.size(); ++i) {
    const Duration bound = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(Histogram::kBounds[i]));
    Histogram histogram;
    histogram.add(bound);
    EXPECT_EQ(histogram.counts[i], 1u) << Histogram::kBounds[i];
    histogram.add(bound + 1us);
    EXPECT_EQ(histogram.counts[i + 1], 1u) << Histogram::kBounds[i];
  }
}

TEST(Histogram, CountsWhatTookNoTimeAndWhatTookLongerThanAllBounds) {
  Histogram histogram;
  histogram.add(0s);
  histogram.add(1h);
  EXPECT_EQ(histogram.counts.front(), 1u);
  EXPECT_EQ(histogram.counts.back(), 1u);
  EXPECT_EQ(histogram.count(), 2u);
  EXPECT_EQ(histogram.sum, 1h);
}

}  // namespace
}  // namespace tutti
