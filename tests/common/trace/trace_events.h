// SPDX-License-Identifier: Apache-2.0
// Invented events of a process, and the trace that is made of them in memory.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/trace/write_timelines.h"
#include "tests/common/trace/trace_document.h"

namespace tutti::testing {

/// `us` by the host's own clock.
inline Event traced(std::int64_t us, EventKind kind, std::uint64_t step = 0, std::uint32_t bucket = 0,
                    std::int32_t rank = 0) {
  Event event;
  event.time = TimePoint(std::chrono::microseconds(us));
  event.kind = kind;
  event.rank = rank;
  event.generation = 1;
  event.step = step;
  event.bucket = bucket;
  return event;
}

inline TraceSource traced_process(RecordedProcess process, std::vector<Event> events, std::int64_t started_us = 0,
                                  std::vector<ClockReading> readings = {}) {
  TraceSource source;
  source.head.process = std::move(process);
  source.head.started = TimePoint(std::chrono::microseconds(started_us));
  source.head.wall_ns = 1'800'000'000'000'000'000;
  source.readings = std::move(readings);
  source.next = [events = std::move(events), at = std::size_t{0}]() mutable -> std::optional<Event> {
    if (at == events.size()) return std::nullopt;
    return events[at++];
  };
  return source;
}

inline TraceSource traced_rank(std::vector<Event> events) {
  return traced_process({.role = Role::kWorker, .rank = 0, .host = "node1"}, std::move(events));
}

inline std::string text_of_trace(std::vector<TraceSource> sources) {
  std::string text;
  ChromeWriter writer([&](std::string_view more) {
    text += more;
    return Result<>();
  });
  write_timelines(sources, writer);
  EXPECT_TRUE(writer.finish("{}"));
  return text;
}

inline TraceDocument trace_of(std::vector<TraceSource> sources) {
  return TraceDocument::parse(text_of_trace(std::move(sources)));
}

template <class... Sources>
std::vector<TraceSource> all_of_them(Sources... sources) {
  std::vector<TraceSource> all;
  (all.push_back(std::move(sources)), ...);
  return all;
}

}  // namespace tutti::testing
