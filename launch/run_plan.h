// SPDX-License-Identifier: Apache-2.0
// A run's configuration with nothing left open: how many workers and shards, over which exchange, what the program is.
// Thread safety: pure functions.
#pragma once

#include <string>
#include <vector>

#include "common/config.h"
#include "common/result.h"
#include "launch/placement.h"

namespace tutti::launch {

struct RunPlan {
  RunConfig config;                   ///< workers, shards and exchange are said
  std::vector<AgentShare> placement;  ///< of each agent
};

/// `hosts[i]` is the host of agent i. Errors: kUsage without a program, kConfig for keys that contradict each other.
Result<RunPlan> plan_run(RunConfig config, const std::vector<std::string>& hosts);

}  // namespace tutti::launch
