// SPDX-License-Identifier: Apache-2.0
// What an agent sees of one child from look to look. Time counts only as far as the agent was there to see it pass: one
// that was stopped, or lost its machine for a while, finds nobody silent when it is back.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <optional>

#include "common/bootstrap.h"
#include "common/clock.h"
#include "common/control/messages.h"

namespace tutti::launch {

class ChildWatch {
 public:
  /// `period`: how often look() is called.
  explicit ChildWatch(Duration period) : period_(period) {}
  ChildBeat look(const MemberId& child, const StatusPage& status, TimePoint now);

 private:
  const Duration period_;
  std::optional<TimePoint> last_look_;
  std::uint64_t beats_ = 0, changes_ = 0;
  Duration silent_{}, since_{};
};

}  // namespace tutti::launch
