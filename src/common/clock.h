// SPDX-License-Identifier: Apache-2.0
// Time is passed in: a Clock is handed to whoever needs one, so that a test or the simulator can hold it still.
// Thread safety: any thread.
#pragma once

#include <chrono>

namespace tutti {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
/// The moment at which a wait gives up.
using Deadline = TimePoint;

/// Seconds, as the configuration and messages for people count them.
inline Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}
inline double to_seconds(Duration time) {
  return std::chrono::duration<double>(time).count();
}

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const noexcept = 0;
};

/// The machine's monotonic clock: an hour's jump of the wall clock has no effect on it.
class SteadyClock final : public Clock {
 public:
  TimePoint now() const noexcept override { return std::chrono::steady_clock::now(); }
};

/// A clock that stands still until it is told otherwise.
class ManualClock final : public Clock {
 public:
  TimePoint now() const noexcept override { return now_; }
  void advance(Duration by) noexcept { now_ += by; }

 private:
  TimePoint now_{};
};

}  // namespace tutti
