// SPDX-License-Identifier: Apache-2.0
// Writes a trace as Chrome's JSON (the "Trace Event Format"), piece by piece: memory does not grow with it. Times are
// in microseconds, with nanoseconds behind the point. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "common/result.h"
#include "common/trace/timeline.h"

namespace tutti {

class ChromeWriter {
 public:
  /// Takes the file's bytes, some 64 KiB each time.
  using Write = std::function<Result<>(std::string_view text)>;
  explicit ChromeWriter(Write write);

  /// Whatever follows until the next one is this process'. `ns_of` maps a time of its own to the trace's.
  void begin_process(int pid, const std::string& name, Role role, std::function<std::int64_t(TimePoint)> ns_of);
  void slice(const TraceSlice& slice);
  void moment(const TraceMoment& moment);
  /// `about`: a JSON object of what is to be known of the trace itself. The first failure of a write.
  Result<> finish(std::string_view about);
  /// The same, so far.
  const Result<>& state() const noexcept { return state_; }

 private:
  std::int64_t thread_of(const Lane& lane);
  void begin_event();
  void put_arguments(const TraceArguments& arguments);
  void flow(const FlowPoint& point, std::int64_t thread, std::int64_t ns);
  void flush(std::size_t bytes_least);

  const Write write_;
  std::string text_;
  Result<> state_;
  bool any_ = false;  // events so far
  int pid_ = 0;
  Role role_ = Role::kWorker;
  std::function<std::int64_t(TimePoint)> ns_of_;
  std::set<Lane> threads_;  // of this process, that have a name
};

}  // namespace tutti
