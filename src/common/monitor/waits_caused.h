// SPDX-License-Identifier: Apache-2.0
// Whom the others waited for, from how long each rank has waited by which step. Steps are in lockstep: over the same
// steps all ranks take the same time, so the one that waited least is the one for which the others waited, and what
// they waited more than it is its doing. Ranks tell their waits at different moments: what lies between two of them is
// taken to be even. Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "common/clock.h"

namespace tutti::monitor {

class WaitsCaused {
 public:
  /// `rank` had waited so long, in all, when its first `step` steps were over.
  void heard(std::int32_t rank, std::uint64_t step, Duration waited, std::size_t workers);
  /// Another process is `rank` from here on, and counts anew.
  void forget(std::int32_t rank);
  /// What the others have waited for it, all of them together.
  Duration caused_by(std::int32_t rank) const;

 private:
  struct Point {
    std::uint64_t step = 0;
    Duration waited{};
  };
  using Track = std::deque<Point>;
  static std::optional<Duration> waited_at(const Track& track, std::uint64_t step);
  void settle(std::uint64_t step);

  std::map<std::int32_t, Track> tracks_;
  std::optional<std::uint64_t> settled_;  // up to this step
  std::map<std::int32_t, Duration> caused_;
};

}  // namespace tutti::monitor
