// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "common/clock.h"

namespace tutti {

/// Times of a clock that a test moves itself.
inline TimePoint at_second(int seconds) {
  return TimePoint() + std::chrono::seconds(seconds);
}
inline TimePoint at_millisecond(int milliseconds) {
  return TimePoint() + std::chrono::milliseconds(milliseconds);
}

}  // namespace tutti
