// SPDX-License-Identifier: Apache-2.0
// How often a process that keeps ending is started again. What counts are tries without a step of progress between
// them: a run that loses processes and gets on may go on for ever, one that fails at the same place again comes to its
// end. Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "common/clock.h"
#include "common/control/cause.h"

namespace tutti {

class Attempts {
 public:
  explicit Attempts(int max) : max_(max) {}

  /// The pause before the next try (none, then 1, 2, 4 s and so on); nothing once there were `max` without progress.
  /// `step`: how far the member, or the run, had come.
  std::optional<Duration> next(const MemberId& member, std::uint64_t step);
  /// The members of another world are others.
  void forget() { records_.clear(); }

 private:
  struct Record {
    std::uint64_t step = 0;
    int tries = 0;
  };
  const int max_;
  std::map<MemberId, Record> records_;
};

}  // namespace tutti
