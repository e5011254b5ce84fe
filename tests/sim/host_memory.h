// SPDX-License-Identifier: Apache-2.0
// The memory that the processes of a simulated host share: what an agent's keeper hands out (common/host_memory.h), for
// one world of a run. It outlives the agent's children, and dies with the agent. The segment is production's own.
#pragma once

#include <memory>
#include <string>

#include "common/segment.h"
#include "ps/host_buckets.h"

namespace tutti::sim {

class HostMemory {
 public:
  explicit HostMemory(std::string keeper) : keeper_(std::move(keeper)) {}
  const std::string& keeper() const noexcept { return keeper_; }
  /// As ps::host_places().
  ps::HostPlaces places(const ps::Placement& placement, const ps::ObjectTable& table);

 private:
  const std::string keeper_;
  std::shared_ptr<Segment> segment_;
};

}  // namespace tutti::sim
