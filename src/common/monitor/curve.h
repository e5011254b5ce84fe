// SPDX-License-Identifier: Apache-2.0
// A number over time, in bounded memory: once there are too many points, every second one goes, and from then on only
// every second new one is taken.
// Thread safety: owned by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti::monitor {

struct CurvePoint {
  double time_s = 0;  ///< since 1970
  std::int64_t step = 0;
  double value = 0;
  std::uint64_t number = 0;  ///< of the run's points and lines, in the order they came
};

class Curve {
 public:
  /// REQUIRES: capacity is even.
  explicit Curve(std::size_t capacity) : capacity_(capacity) {}

  void add(const CurvePoint& point);
  /// In the order they came.
  const std::vector<CurvePoint>& points() const noexcept { return points_; }

 private:
  const std::size_t capacity_;
  std::size_t stride_ = 1;  // of so many one is taken
  std::size_t passed_ = 0;  // since one was
  std::vector<CurvePoint> points_;
};

}  // namespace tutti::monitor
