// SPDX-License-Identifier: Apache-2.0
#include "common/trace/write_timelines.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include "common/control/cause.h"

namespace tutti {
namespace {

class ProcessSink final : public TimelineSink {
 public:
  explicit ProcessSink(ChromeWriter& writer) : writer_(writer) {}
  void slice(const TraceSlice& slice) override { writer_.slice(slice); }
  void moment(const TraceMoment& moment) override { writer_.moment(moment); }

 private:
  ChromeWriter& writer_;
};

/// "rank 3 on node2 (generation 2)"
std::string name_of_process(const RecordedProcess& process) {
  const std::string name = describe(MemberId{process.role, process.rank}) + " on " + process.host;
  return process.generation <= 1 ? name : fmt::format("{} (generation {})", name, process.generation);
}

auto place_of(const RecordedProcess& process) {
  return std::tuple(process.role, process.rank, process.generation);
}

}  // namespace

ClockMap write_timelines(std::span<TraceSource> sources, ChromeWriter& writer) {
  std::ranges::sort(sources, {}, [](const TraceSource& source) { return place_of(source.head.process); });
  std::vector<ClockSource> of_clocks;
  for (const TraceSource& source : sources) {
    of_clocks.push_back({source.head.process.host, source.head.wall_ns, source.head.started, source.readings});
  }
  ClockMap clocks(of_clocks);
  std::int64_t zero = std::numeric_limits<std::int64_t>::max();
  for (const ClockSource& source : of_clocks) zero = std::min(zero, clocks.ns_of(source.host, source.started));
  ProcessSink sink(writer);
  int pid = 0;
  for (TraceSource& source : sources) {
    const RecordedProcess& process = source.head.process;
    writer.begin_process(
        ++pid, name_of_process(process), process.role,
        [&clocks, zero, host = process.host](TimePoint time) { return clocks.ns_of(host, time) - zero; });
    const auto timeline = make_timeline(process.role, process.generation, sink);
    while (const auto event = source.next()) {
      timeline->take(*event);
      if (!writer.state()) return clocks;
    }
    timeline->end();
  }
  return clocks;
}

}  // namespace tutti
