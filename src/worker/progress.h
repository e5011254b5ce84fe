// SPDX-License-Identifier: Apache-2.0
// Rank 0's progress: one plain line for each interval, with the newest of the numbers that the program logged.
// Thread safety: the training thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"

namespace tutti::worker {

class Progress {
 public:
  using Print = std::function<void(const std::string& line)>;
  /// `print` null: nothing is shown.
  Progress(const Clock& clock, Duration interval, Print print)
      : clock_(clock), interval_(interval), print_(std::move(print)) {}

  void log(std::string_view name, double value);
  /// One optimizer step is done: `samples` were seen by all ranks together.
  void advance(std::int64_t epoch, std::int64_t epochs, std::int64_t step, std::int64_t steps, std::size_t samples);

 private:
  const Clock& clock_;
  const Duration interval_;
  const Print print_;
  std::vector<std::pair<std::string, double>> values_;
  TimePoint last_{};
  std::size_t samples_ = 0;  // since the last line
};

}  // namespace tutti::worker
