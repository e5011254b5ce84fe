// SPDX-License-Identifier: Apache-2.0
// The timelines of all processes of a run on one axis, wherever their events come from.
// Thread safety: functions without state.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/event.h"
#include "common/recording_format.h"
#include "common/trace/chrome_writer.h"
#include "common/trace/clock_map.h"

namespace tutti {

/// The events of one process.
struct TraceSource {
  RecordingHead head;
  std::vector<ClockReading> readings;
  std::function<std::optional<Event>()> next;  ///< in the order of their times
};
/// Every process' timeline, ranks first, on the coordinator's clock; zero is when the first process began. Reads each
/// source once.
ClockMap write_timelines(std::span<TraceSource> sources, ChromeWriter& writer);

}  // namespace tutti
