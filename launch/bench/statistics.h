// SPDX-License-Identifier: Apache-2.0
// What many measured times are told as. Thread safety: pure functions.
#pragma once

#include <vector>

namespace tutti::bench {

struct Summary {
  double min = 0, p50 = 0, p99 = 0, max = 0;
  bool operator==(const Summary&) const = default;
};

/// The smallest sample that at least `percent` of all samples do not exceed (the nearest rank): always one that was
/// measured. REQUIRES: samples, and 0 < percent <= 100.
double percentile(std::vector<double> samples, double percent);
/// REQUIRES: samples.
Summary summarize(const std::vector<double>& samples);

/// The work on the wire or in memory that an all-reduce of this many bytes a second stands for, whatever the number of
/// ranks: each rank has to send and to receive 2 (n - 1) / n of its bytes at least.
double bus_bandwidth(double bytes_per_s, int ranks);

}  // namespace tutti::bench
