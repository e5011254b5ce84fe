// SPDX-License-Identifier: Apache-2.0
// A run's configuration with nothing left open: how many workers and shards, over which exchange, what the program is.
// Thread safety: pure functions.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/result.h"
#include "launch/placement.h"

namespace tutti::launch {

struct RunPlan {
  RunConfig config;                   ///< workers, shards and exchange are said
  std::vector<AgentShare> placement;  ///< of each agent
  RunConfig asked;                    ///< as the user gave it: what another world is planned from
};

/// `hosts[i]` is the host of agent i. Errors: kUsage without a program, kConfig for keys that contradict each other.
Result<RunPlan> plan_run(RunConfig config, const std::vector<std::string>& hosts);

/// With how many workers an elastic run begins, where there is room for so many; `workers` itself in others.
int first_workers(const RunConfig& config, int room);

/// That this process may use.
int cores_here();

/// The run in another world. Agents that are named in `without` get nothing.
Result<RunPlan> replan(const RunPlan& plan, int workers, const std::set<int>& without);

}  // namespace tutti::launch
