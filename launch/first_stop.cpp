// SPDX-License-Identifier: Apache-2.0
#include "launch/first_stop.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "common/net/frame.h"

namespace tutti::launch {
namespace {

MemberId member_of(const RecordedProcess& process) {
  return {process.role, process.rank};
}

bool has_left(const Whereabouts& place) {
  return place.last.kind == EventKind::kRequestEnd &&
         place.last.bucket == static_cast<std::uint32_t>(FrameType::kLeave);
}

class Search {
 public:
  Search(const std::vector<Recording>& recordings, const std::vector<Whereabouts>& places, const TimeAxis& axis)
      : recordings_(recordings), places_(places), axis_(axis) {}

  FirstStop find() const {
    if (auto seen = seen_by_an_agent()) return *seen;
    if (auto stopped = outside_a_wait()) return *stopped;
    return furthest_behind();
  }

 private:
  std::int64_t wall_ns(std::size_t i, TimePoint time) const { return axis_.wall_ns(recordings_[i].process.host, time); }
  bool is_replaced(std::size_t i) const {
    return std::ranges::any_of(recordings_, [&](const Recording& other) {
      return member_of(other.process) == member_of(recordings_[i].process) &&
             other.process.generation > recordings_[i].process.generation;
    });
  }
  FirstStop stop_of(std::size_t i) const {
    return {member_of(recordings_[i].process), i, wall_ns(i, places_[i].since), std::nullopt, false};
  }
  std::optional<std::size_t> newest_of(const MemberId& member) const;
  std::optional<FirstStop> seen_by_an_agent() const;
  std::vector<std::size_t> suspects() const;
  std::optional<FirstStop> outside_a_wait() const;
  FirstStop furthest_behind() const;

  const std::vector<Recording>& recordings_;
  const std::vector<Whereabouts>& places_;
  const TimeAxis& axis_;
};

std::optional<std::size_t> Search::newest_of(const MemberId& member) const {
  for (std::size_t i = 0; i < recordings_.size(); ++i) {
    if (member_of(recordings_[i].process) == member && !is_replaced(i)) return i;
  }
  return std::nullopt;
}

std::optional<FirstStop> Search::seen_by_an_agent() const {
  std::optional<FirstStop> first;
  for (std::size_t i = 0; i < recordings_.size(); ++i) {
    for (const Event& event : recordings_[i].events) {
      if (event.kind != EventKind::kMemberLost) continue;
      const std::int64_t when = wall_ns(i, event.time);
      const MemberId lost{static_cast<Role>(event.object), event.rank};
      const auto newest = newest_of(lost);
      const bool was_replaced = newest && wall_ns(*newest, recordings_[*newest].started) > when;
      if (was_replaced || (first && first->wall_ns <= when)) continue;
      first = FirstStop{lost, newest, when, static_cast<int>(event.bytes), false};
    }
  }
  return first;
}

// Whoever was told of the run's end was alive then, so that it is not the cause; where nobody was, all may be.
std::vector<std::size_t> Search::suspects() const {
  std::vector<std::size_t> all, untold;
  for (std::size_t i = 0; i < recordings_.size(); ++i) {
    if (recordings_[i].process.role != Role::kWorker || has_left(places_[i]) || is_replaced(i)) continue;
    all.push_back(i);
    if (!places_[i].told_of_end) untold.push_back(i);
  }
  return untold.empty() ? all : untold;
}

std::optional<FirstStop> Search::outside_a_wait() const {
  std::optional<FirstStop> first;
  for (const std::size_t i : suspects()) {
    if (!awaited(places_[i]).empty()) continue;
    const FirstStop stop = stop_of(i);
    if (!first || stop.wall_ns < first->wall_ns) first = stop;
  }
  return first;
}

FirstStop Search::furthest_behind() const {
  std::vector<std::size_t> among = suspects();
  const bool some_were_told =
      std::ranges::any_of(places_, [](const Whereabouts& p) { return p.told_of_end.has_value(); });
  if (among.empty()) among.push_back(0);  // no rank is left to name: the first process is as good as any
  // Few steps before many, and late waits before early ones.
  const auto order = [&](std::size_t i) {
    const std::int64_t steps = places_[i].step ? static_cast<std::int64_t>(*places_[i].step) : -1;
    return std::tuple(steps, -wall_ns(i, places_[i].since));
  };
  FirstStop stop = stop_of(*std::ranges::min_element(among, {}, order));
  stop.all_waited = !some_were_told;
  return stop;
}

std::int64_t nanoseconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

TimeAxis::TimeAxis(const std::vector<Recording>& recordings) {
  std::map<std::string, TimePoint> first;
  for (const Recording& recording : recordings) {
    const auto [found, is_new] = first.try_emplace(recording.process.host, recording.started);
    if (!is_new && recording.started >= found->second) continue;
    found->second = recording.started;
    offsets_[recording.process.host] = recording.wall_ns - nanoseconds(recording.started);
  }
}

std::int64_t TimeAxis::wall_ns(const std::string& host, TimePoint time) const {
  return offsets_.at(host) + nanoseconds(time);
}

std::string describe_waits(const std::vector<Recording>& recordings) {
  std::vector<Whereabouts> places;
  for (const Recording& recording : recordings) places.push_back(locate(recording));
  const TimeAxis axis(recordings);
  const FirstStop first = find_first_stop(recordings, places, axis);
  int waited = 0;
  std::int64_t longest = -1;
  std::string text;
  for (std::size_t i = 0; i < recordings.size(); ++i) {
    const RecordedProcess& process = recordings[i].process;
    if (process.role != Role::kWorker || member_of(process) == first.member || awaited(places[i]).empty()) continue;
    ++waited;
    const auto on_axis = [&](TimePoint time) { return axis.wall_ns(process.host, time); };
    const std::int64_t end = places[i].told_of_end ? on_axis(*places[i].told_of_end) : first.wall_ns;
    const std::int64_t time = std::max<std::int64_t>(end - on_axis(places[i].since), 0);
    if (time <= longest) continue;
    longest = time;
    text = fmt::format("rank {} waited {:.3f} s for {}", process.rank, static_cast<double>(time) / 1e9,
                       awaited(places[i]));
  }
  if (waited > 1) text += fmt::format(", and {} more rank{} waited", waited - 1, waited == 2 ? "" : "s");
  return text;
}

FirstStop find_first_stop(const std::vector<Recording>& recordings, const std::vector<Whereabouts>& places,
                          const TimeAxis& axis) {
  return Search(recordings, places, axis).find();
}

}  // namespace tutti::launch
