// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/timeline.h"

#include <algorithm>
#include <utility>

namespace tutti::sim {

void Timeline::at(TimePoint when, Event event) {
  heap_.push_back({std::max(when, now_), planned_++, std::move(event)});
  std::push_heap(heap_.begin(), heap_.end(), is_later);
}

bool Timeline::step() {
  if (heap_.empty()) return false;
  std::pop_heap(heap_.begin(), heap_.end(), is_later);
  const Planned next = std::move(heap_.back());
  heap_.pop_back();
  now_ = next.when;
  ++happened_;
  next.event();
  return true;
}

}  // namespace tutti::sim
