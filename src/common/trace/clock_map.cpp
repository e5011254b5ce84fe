// SPDX-License-Identifier: Apache-2.0
#include "common/trace/clock_map.h"

#include <algorithm>

#include "common/assert.h"

namespace tutti {
namespace {

using HostClock = ClockMap::HostClock;

// Readings of so short a time say the same: the one with the shortest round trip says it best.
constexpr auto kOneMoment = std::chrono::seconds(10);

std::vector<ClockReading> best_of(std::vector<ClockReading> readings) {
  std::ranges::sort(readings, {}, &ClockReading::at);
  std::vector<ClockReading> best;
  TimePoint moment{};
  for (const ClockReading& reading : readings) {
    if (best.empty() || reading.at - moment >= kOneMoment) {
      best.push_back(reading);
      moment = reading.at;
    } else if (reading.round_trip < best.back().round_trip) {
      best.back() = reading;
    }
  }
  const bool may_be_none = std::ranges::all_of(
      best, [](const ClockReading& reading) { return std::chrono::abs(reading.offset) <= reading.round_trip / 2; });
  if (may_be_none) {
    for (ClockReading& reading : best) reading.offset = Duration::zero();
  }
  return best;
}

Duration offset_at(const HostClock& clock, TimePoint time) {
  const auto& readings = clock.readings;
  const auto next = std::ranges::upper_bound(readings, time, {}, &ClockReading::at);
  if (next == readings.begin()) return readings.front().offset;
  const ClockReading& before = *std::prev(next);
  if (next == readings.end()) return before.offset;
  const double part = to_seconds(time - before.at) / to_seconds(next->at - before.at);
  const auto moved = static_cast<double>((next->offset - before.offset).count());
  return before.offset + Duration(static_cast<std::int64_t>(moved * part));
}

}  // namespace

ClockMap::ClockMap(std::span<const ClockSource> sources) {
  for (const ClockSource& source : sources) {
    HostClock& clock = hosts_[source.host];
    if (clock.wall_ns == 0) clock.wall_ns = source.wall_ns - source.started.time_since_epoch().count();
    clock.readings.insert(clock.readings.end(), source.readings.begin(), source.readings.end());
  }
  const HostClock* reference = nullptr;
  for (auto& [host, clock] : hosts_) {
    if (clock.readings.empty()) continue;
    clock.by = HostClock::By::kReadings;
    clock.readings = best_of(std::move(clock.readings));
    const bool is_coordinators = clock.readings.front().offset == Duration::zero();
    if (reference == nullptr || is_coordinators) reference = &clock;
  }
  if (sources.empty()) return;
  // Without any reading the first process' host stands for the coordinator's.
  reference_wall_ns_ = reference != nullptr ? reference->wall_ns - reference->readings.front().offset.count()
                                            : hosts_.at(sources.front().host).wall_ns;
  for (auto& [host, clock] : hosts_) {
    if (clock.by == HostClock::By::kReadings) continue;
    clock.readings = {{{}, Duration(clock.wall_ns - reference_wall_ns_), {}}};
  }
}

std::int64_t ClockMap::ns_of(const std::string& host, TimePoint time) const {
  const auto found = hosts_.find(host);
  TUTTI_ASSERT(found != hosts_.end(), "the host of an event is one of the sources'");
  return (time.time_since_epoch() + offset_at(found->second, time)).count();
}

Duration ClockMap::uncertainty(const HostClock& clock) {
  return std::ranges::max(clock.readings, {}, &ClockReading::round_trip).round_trip / 2;
}

}  // namespace tutti
