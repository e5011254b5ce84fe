// SPDX-License-Identifier: Apache-2.0
#include "launch/child_watch.h"

#include <algorithm>
#include <utility>

namespace tutti::launch {

ChildBeat ChildWatch::look(const MemberId& child, const StatusPage& status, TimePoint now) {
  const Duration passed = std::min(now - last_look_.value_or(now), 2 * period_);
  last_look_ = now;
  const std::uint64_t beats = status.beats(), changes = status.activity_changes();
  const bool has_beaten = std::exchange(beats_, beats) != beats || beats == 0;
  const bool has_changed = std::exchange(changes_, changes) != changes;
  silent_ = has_beaten ? Duration::zero() : silent_ + passed;
  since_ = has_changed ? Duration::zero() : since_ + passed;

  const auto count = [](Duration time) { return static_cast<std::uint64_t>(time.count()); };
  ChildBeat beat;
  beat.member = child;
  beat.activity = status.activity();
  beat.step = status.step();
  beat.silent_ns = count(silent_);
  beat.since_ns = count(since_);
  beat.waited_ns = count(status.waited());
  return beat;
}

}  // namespace tutti::launch
