// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/statistics.h"

#include <algorithm>
#include <cmath>

#include "common/assert.h"

namespace tutti::bench {

double percentile(std::vector<double> samples, double percent) {
  TUTTI_ASSERT(!samples.empty() && percent > 0 && percent <= 100, "a percentile is one of the samples");
  const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(samples.size())));
  const auto nth = samples.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::nth_element(samples.begin(), nth, samples.end());
  return *nth;
}

Summary summarize(const std::vector<double>& samples) {
  return {percentile(samples, 1e-9), percentile(samples, 50), percentile(samples, 99), percentile(samples, 100)};
}

double bus_bandwidth(double bytes_per_s, int ranks) {
  return bytes_per_s * 2 * (ranks - 1) / ranks;
}

}  // namespace tutti::bench
