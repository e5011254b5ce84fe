// SPDX-License-Identifier: Apache-2.0
// What an agent has to do with recordings: it keeps one of its own (whom it started, how they ended) and reads that of
// a child that died, for the line of cause. Thread safety: the agent's main thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/control/cause.h"
#include "common/log.h"
#include "common/recording.h"
#include "common/trace/part.h"

namespace tutti::launch {

class AgentRecording {
 public:
  /// Where no recording can be made, the log is told once, and nothing is recorded.
  /// `trace`: of the run, in which this agent has a part; empty: there is none.
  AgentRecording(std::string folder, int agent, const std::string& host, const Logger& log,
                 const std::string& trace = {});

  void started(const MemberId& child);
  /// Returns what the child was doing, if its recording says so and it did not end well.
  std::string ended(const MemberId& child, int wait_status, std::uint64_t step);
  void run_ended();

 private:
  void record(EventKind kind, const MemberId& about, std::uint64_t step = 0, std::uint64_t bytes = 0);

  const std::string folder_;
  const SteadyClock clock_;
  const std::unique_ptr<Recorder> recorder_;  // null: there was no room
  std::unique_ptr<TracePart> part_;           // null: none is wanted, or there was no room
};

/// Where the recordings are, for the user. `hosts[i]` is the host of agent i; agent 0 is the one that speaks. Hosts
/// that do not share the folder with it are named.
std::string describe_recordings(const std::string& folder, const std::vector<std::string>& hosts);

}  // namespace tutti::launch
