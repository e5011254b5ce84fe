// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/curve.h"

namespace tutti::monitor {

void Curve::add(const CurvePoint& point) {
  if (!points_.empty() && ++passed_ < stride_) return;
  passed_ = 0;
  points_.push_back(point);
  if (points_.size() < capacity_) return;
  for (std::size_t i = 0; i < points_.size() / 2; ++i) points_[i] = points_[2 * i];
  points_.resize(points_.size() / 2);
  passed_ = stride_;  // the newest one is among those that went
  stride_ *= 2;
}

}  // namespace tutti::monitor
