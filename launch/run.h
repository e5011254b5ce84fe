// SPDX-License-Identifier: Apache-2.0
// A managed run, from the view of one agent: agree with the others on what is to be run, do one's share, part with one
// exit code. Thread safety: the main thread.
#pragma once

#include <string>
#include <vector>

#include "common/config.h"
#include "launch/agent_world.h"
#include "launch/orphan_guard.h"

namespace tutti::launch {

/// What the user asked for on the command line.
struct RunRequest {
  std::string file;                    ///< empty: none
  std::vector<std::string> overrides;  ///< "key=value"
  std::vector<std::string> program;    ///< empty: the configuration's
};

/// Errors as load_config's.
Result<RunConfig> load(const RunRequest& request, const Environment& environment);

/// Collective over the agents' world. Agent 0's configuration is everybody's. Returns the exit code, and prints what
/// ended the run: agent 0 does, for all.
int run_as_agent(AgentWorld& world, OrphanGuard& guard, const RunRequest& request, const Environment& environment);

}  // namespace tutti::launch
