// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/waits_caused.h"

#include <algorithm>
#include <vector>

namespace tutti::monitor {

void WaitsCaused::heard(std::int32_t rank, std::uint64_t step, Duration waited, std::size_t workers) {
  Track& track = tracks_[rank];
  if (!track.empty() && (step < track.back().step || waited < track.back().waited)) {
    forget(rank);  // the run went back
    return heard(rank, step, waited, workers);
  }
  if (!track.empty() && track.back().step == step) track.pop_back();
  track.push_back({step, waited});
  if (tracks_.size() < workers) return;
  std::uint64_t first = 0, last = step;
  for (const auto& [number, points] : tracks_) {
    first = std::max(first, points.front().step);
    last = std::min(last, points.back().step);
  }
  if (!settled_ || *settled_ < first) settled_ = first;
  if (last > *settled_) settle(last);
}

void WaitsCaused::forget(std::int32_t rank) {
  tracks_.erase(rank);
  settled_.reset();
}

Duration WaitsCaused::caused_by(std::int32_t rank) const {
  const auto caused = caused_.find(rank);
  return caused == caused_.end() ? Duration() : caused->second;
}

// On the line between the two points around it.
std::optional<Duration> WaitsCaused::waited_at(const Track& track, std::uint64_t step) {
  const auto after = std::ranges::lower_bound(track, step, {}, &Point::step);
  if (after == track.end()) return std::nullopt;
  if (after->step == step) return after->waited;
  if (after == track.begin()) return std::nullopt;
  const Point &a = *std::prev(after), &b = *after;
  const double part = static_cast<double>(step - a.step) / static_cast<double>(b.step - a.step);
  return a.waited + std::chrono::duration_cast<Duration>((b.waited - a.waited) * part);
}

void WaitsCaused::settle(std::uint64_t step) {
  std::optional<std::int32_t> guilty;
  Duration least{}, all{};
  std::size_t ranks = 0;
  for (const auto& [rank, track] : tracks_) {
    const auto before = waited_at(track, *settled_), now = waited_at(track, step);
    if (!before || !now) continue;
    const Duration waited = *now - *before;
    if (!guilty || waited < least) {
      guilty = rank;
      least = waited;
    }
    all += waited;
    ++ranks;
  }
  if (guilty && ranks > 1) caused_[*guilty] += all - least * static_cast<std::int64_t>(ranks);
  settled_ = step;
  for (auto& [rank, track] : tracks_) {
    while (track.size() > 1 && track[1].step <= step) track.pop_front();
  }
}

}  // namespace tutti::monitor
