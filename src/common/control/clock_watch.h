// SPDX-License-Identifier: Apache-2.0
// How far the coordinator's monotonic clock is from this host's, for traces: a few questions one after the other, of
// which the one with the shortest round trip counts (event kClockOffset), at the begin and then at growing intervals of
// up to a minute.
// Thread safety: the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "common/clock.h"
#include "common/control/messages.h"
#include "common/event.h"
#include "common/net/loop.h"

namespace tutti {

class ClockWatch : public std::enable_shared_from_this<ClockWatch> {
 public:
  using Ask = std::function<void(const ClockQuestion&)>;
  ClockWatch(Loop& loop, std::int32_t rank, EventSink& trace, Ask ask);

  /// Looks now and from now on.
  void begin();
  /// Looks once more.
  void look();
  void take(const ClockAnswer& answer);

 private:
  void ask();

  Loop& loop_;
  const std::int32_t rank_;
  EventSink& trace_;
  const Ask ask_;
  const SteadyClock clock_;
  Duration pause_;
  int answers_ = 0;  // of this look
  TimePoint asked_{};
  std::optional<Event> best_;
};

}  // namespace tutti
