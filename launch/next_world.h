// SPDX-License-Identifier: Apache-2.0
// What agents are told of another world of their run, between a coordinator that does not read it and agents that do.
// Thread safety: values and functions without state.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/bounded_archive.h"
#include "common/control/assignment.h"
#include "launch/placement.h"
#include "launch/run_plan.h"

namespace tutti::launch {

struct NextWorld {
  std::int32_t workers = 0, shards = 0;
  std::string exchange;
  std::vector<AgentShare> placement;  ///< of each agent; one that is gone has no host
  template <class Archive>
  void serialize(Archive& archive) {
    archive(workers, shards, exchange, placement);
  }
};

/// Which agent starts whom.
std::map<MemberId, std::int32_t> homes_of(const std::vector<AgentShare>& placement);

/// How the coordinator may change the world of `plan`'s run. `outlives_agents`: of a world of agents in which the
/// others live on when one is lost.
Elasticity elasticity_of(const RunPlan& plan, bool outlives_agents);

}  // namespace tutti::launch
