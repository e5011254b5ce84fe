// SPDX-License-Identifier: Apache-2.0
// The lane of a process' main thread. Of a worker that is the training: steps, within them forward, backward, wait and
// optimizer; between them data and checkpoint stalls; anywhere questions to the coordinator. Of the others what they
// ask and what they heard of the run.
// Thread safety: one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/trace/timeline.h"

namespace tutti {

class TrainingTrack {
 public:
  TrainingTrack(std::uint32_t generation, TimelineSink& sink) : sink_(sink), generation_(generation) {}

  void take(const Event& event);
  void end();

 private:
  enum class Phase { kNone, kForward, kBackward, kAfter };

  void begin_iteration(const Event& event);
  void end_iteration(TimePoint now);
  void begin_wait(const Event& event);
  void end_phase(TimePoint now);
  void regroup(const Event& event);
  /// A wait, a question or a recovery that is over by now, though nothing said so.
  void cut(TimePoint now);
  void cut_request(TimePoint now);
  void end_recovery(TimePoint now);
  void add(std::string_view category, std::string name, TimePoint begin, TimePoint end, TraceArguments arguments);
  void tell(const Event& event, std::string name, TraceArguments arguments);
  /// Hands on what is known, each slice before those within it.
  void flush();

  TimelineSink& sink_;
  std::uint32_t generation_;
  std::vector<TraceSlice> slices_;
  TimePoint last_{};
  std::optional<Event> iteration_, wait_, request_, stall_;
  std::optional<TimePoint> recovery_;  // since a generation began in which this process has not gone on yet
  std::optional<TimePoint> idle_;      // since the last iteration or the stall behind it
  Phase phase_ = Phase::kNone;
  TimePoint phase_begin_{};
};

}  // namespace tutti
