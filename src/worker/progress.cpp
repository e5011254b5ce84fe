// SPDX-License-Identifier: Apache-2.0
#include "worker/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace tutti::worker {

void Progress::log(std::string_view name, double value) {
  if (!print_) return;
  const auto known =
      std::find_if(values_.begin(), values_.end(), [&](const auto& entry) { return entry.first == name; });
  if (known != values_.end())
    known->second = value;
  else
    values_.emplace_back(name, value);
}

void Progress::advance(std::int64_t epoch, std::int64_t epochs, std::int64_t step, std::int64_t steps,
                       std::size_t samples) {
  if (!print_) return;
  const TimePoint now = clock_.now();
  if (last_ == TimePoint{}) {
    last_ = now;  // the first step warms up: it counts for no rate
    return;
  }
  samples_ += samples;
  if (now - last_ < interval_ && step != steps) return;
  const double seconds = std::chrono::duration<double>(now - last_).count();
  std::string line = fmt::format("epoch {}/{}  step {}/{}", epoch + 1, epochs, step, steps);
  for (const auto& [name, value] : values_) line += fmt::format("  {} {:.4g}", name, value);
  if (seconds > 0) line += fmt::format("  {:.0f} samples/s", static_cast<double>(samples_) / seconds);
  print_(line);
  last_ = now;
  samples_ = 0;
}

}  // namespace tutti::worker
