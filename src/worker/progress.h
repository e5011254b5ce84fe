// SPDX-License-Identifier: Apache-2.0
// What rank 0 says of its training: a status for each interval, with the newest of the numbers that the program logged,
// and a summary at the end. Where the words go is handed in.
// Thread safety: the training thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/control/report.h"
#include "common/metrics.h"

namespace tutti::worker {

class Progress {
 public:
  struct Show {
    std::function<void(const std::string&)> status;  ///< takes the place of the one before; empty: there is none
    std::function<void(const std::string&)> line;    ///< stays
  };
  /// `show` without functions: nothing is shown. `metrics` outlives this.
  Progress(const Clock& clock, Duration interval, const MetricsCounter& metrics, Show show)
      : clock_(clock), interval_(interval), metrics_(metrics), show_(std::move(show)) {}

  void log(std::string_view name, double value);
  /// One optimizer step is done: `samples` were seen by all ranks together.
  void advance(const RunPosition& position, std::size_t samples);
  /// Other words follow.
  void clear();
  /// The training is over: says what it was, unless it was too short for a status. Once. `slowest`: a line of it.
  void finish(const std::string& slowest = {});

 private:
  struct Moment {
    TimePoint time{};
    std::int64_t step = 0;
    std::size_t samples = 0;  // so far
    Duration waited{};
  };
  std::string status(std::int64_t left, const Moment& now) const;
  std::vector<std::string> summary() const;

  const Clock& clock_;
  const Duration interval_;
  const MetricsCounter& metrics_;
  const Show show_;
  std::vector<std::pair<std::string, double>> values_;
  std::deque<Moment> moments_;  // of the last statuses; before the first one, of the end of the first step
  std::int64_t steps_ = 0;
  std::size_t samples_ = 0;
  bool shown_ = false;
};

/// "rank 3 on nodeB: waited 2 % of the time, the others 22 to 25 %", of what each rank says ("0.02 nodeB"): the part of
/// its time in which it waited, and its host. Empty where the ranks are about as fast.
std::string describe_slowest(const std::vector<std::string>& ranks);

}  // namespace tutti::worker
