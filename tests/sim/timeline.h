// SPDX-License-Identifier: Apache-2.0
// Virtual time: what is to happen, in order. Of two events at the same moment the one that was planned first comes
// first, so a world is the same every time.
// Thread safety: owned by one thread, as everything in tests/sim but main.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/clock.h"

namespace tutti::sim {

class Timeline {
 public:
  using Event = std::function<void()>;

  TimePoint now() const noexcept { return now_; }
  void at(TimePoint when, Event event);
  void after(Duration delay, Event event) { at(now_ + delay, std::move(event)); }
  /// Moves time to the next event and lets it happen; false: there is none.
  bool step();
  std::uint64_t happened() const noexcept { return happened_; }

 private:
  struct Planned {
    TimePoint when;
    std::uint64_t number;
    Event event;
  };
  static bool is_later(const Planned& a, const Planned& b) {
    return a.when != b.when ? a.when > b.when : a.number > b.number;
  }

  TimePoint now_{};
  std::vector<Planned> heap_;
  std::uint64_t planned_ = 0;
  std::uint64_t happened_ = 0;
};

}  // namespace tutti::sim
