// SPDX-License-Identifier: Apache-2.0
// Puts the events of several hosts on one axis: that of the coordinator's monotonic clock. Processes of one host share
// its monotonic clock, so what one of them has read of the coordinator's holds for all of them. Between two readings
// the offset is taken to move evenly; a host whose readings all allow for no offset has the coordinator's own clock.
// A host that has none is placed by its wall clock.
// Thread safety: a value.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"

namespace tutti {

/// One look at the coordinator's clock.
struct ClockReading {
  TimePoint at{};         ///< by the host's own clock
  Duration offset{};      ///< what the coordinator's clock showed more
  Duration round_trip{};  ///< the offset is right to half of it
};

/// What a process knows of its host's clock.
struct ClockSource {
  std::string host;
  std::int64_t wall_ns = 0;  ///< since 1970, at `started`
  TimePoint started{};
  std::vector<ClockReading> readings = {};
};

class ClockMap {
 public:
  struct HostClock {
    enum class By { kReadings, kWallClock };
    By by = By::kWallClock;
    std::vector<ClockReading> readings = {};  ///< the best of each moment, the earliest first; one where by wall clock
    std::int64_t wall_ns = 0;                 ///< since 1970, when the host's monotonic clock was zero
  };

  explicit ClockMap(std::span<const ClockSource> sources);

  /// On the coordinator's clock, in ns. REQUIRES: a source was of that host.
  std::int64_t ns_of(const std::string& host, TimePoint time) const;
  /// Since 1970.
  std::int64_t wall_ns_of(std::int64_t coordinator_ns) const noexcept { return coordinator_ns + reference_wall_ns_; }
  const std::map<std::string, HostClock>& hosts() const noexcept { return hosts_; }
  /// The most by which a reading of the host may be wrong.
  static Duration uncertainty(const HostClock& clock);

 private:
  std::map<std::string, HostClock> hosts_;
  std::int64_t reference_wall_ns_ = 0;  // since 1970, when the coordinator's monotonic clock was zero
};

}  // namespace tutti
