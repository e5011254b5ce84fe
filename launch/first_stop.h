// SPDX-License-Identifier: Apache-2.0
// Which process of a run stopped first, by the recordings of all on one time axis.
//
// An agent that saw a child end has seen the first cause, unless the child was replaced. Without one, it is among the
// ranks that were told of no end, if others were. Of these, one that was in no wait when its recording ends is the one
// that the others waited for; of several, the one that stopped first. If all waited, it is the one that is furthest
// behind. Thread safety: values and functions without state.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/control/cause.h"
#include "common/recording.h"
#include "common/whereabouts.h"

namespace tutti::launch {

/// The monotonic clocks of several hosts as one: nanoseconds since 1970.
class TimeAxis {
 public:
  explicit TimeAxis(const std::vector<Recording>& recordings);
  /// REQUIRES: one of the recordings is of that host.
  std::int64_t wall_ns(const std::string& host, TimePoint time) const;

 private:
  std::map<std::string, std::int64_t> offsets_;  // of each host, by the process of it that started first
};

struct FirstStop {
  MemberId member;
  std::optional<std::size_t> recording;  ///< its index; a process that never made a Session has none
  std::int64_t wall_ns = 0;              ///< when
  std::optional<int> wait_status;        ///< as waitpid gave it, where an agent saw the end
  bool all_waited = false;               ///< no rank stopped outside a wait
};

/// `places[i]` is of `recordings[i]`. REQUIRES: there is one.
FirstStop find_first_stop(const std::vector<Recording>& recordings, const std::vector<Whereabouts>& places,
                          const TimeAxis& axis);

/// Which of the other ranks waited, for the line of cause: "rank 0 waited 0.301 s for bucket 1, and 2 more ranks
/// waited" names the one that waited longest until it was told of the end. Empty: nobody did.
std::string describe_waits(const std::vector<Recording>& recordings);

}  // namespace tutti::launch
