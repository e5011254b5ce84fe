// SPDX-License-Identifier: Apache-2.0
#include "launch/next_world.h"

#include <utility>

namespace tutti::launch {

std::map<MemberId, std::int32_t> homes_of(const std::vector<AgentShare>& placement) {
  std::map<MemberId, std::int32_t> homes;
  for (std::int32_t agent = 0; agent < static_cast<std::int32_t>(placement.size()); ++agent) {
    const AgentShare& share = placement[static_cast<std::size_t>(agent)];
    for (const WorkerSlot& slot : share.workers) homes[{Role::kWorker, slot.rank}] = agent;
    for (const int shard : share.shards) homes[{Role::kServer, shard}] = agent;
  }
  return homes;
}

Elasticity elasticity_of(const RunPlan& plan, bool outlives_agents) {
  Elasticity elasticity;
  elasticity.least = plan.asked.worker_range.least;
  elasticity.most = plan.asked.worker_range.most;
  elasticity.outlives_agents = outlives_agents;
  elasticity.plan = [plan](int workers, const std::set<std::int32_t>& without) -> Result<WorldPlan> {
    auto next = replan(plan, workers, without);
    if (!next) return next.error();
    const RunConfig& config = next->config;
    const NextWorld told{config.workers, config.shards, config.exchange, next->placement};
    return WorldPlan{config.workers, config.shards, homes_of(next->placement), encode(told)};
  };
  return elasticity;
}

}  // namespace tutti::launch
