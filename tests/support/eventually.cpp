// SPDX-License-Identifier: Apache-2.0
#include "tests/support/eventually.h"

#include <poll.h>

namespace tutti::testing {

bool eventually(std::chrono::milliseconds patience, const std::function<bool()>& condition) {
  constexpr int kAskAgainMs = 5;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return condition();
    poll(nullptr, 0, kAskAgainMs);
  }
  return true;
}

}  // namespace tutti::testing
