// SPDX-License-Identifier: Apache-2.0
#include "launch/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace tutti::launch {
namespace {

/// Shards that were asked for speak for ps; between hosts, without a wish to have none, it is what gives the bits of
/// one process. On one host the workers find out themselves: they may have GPUs.
std::string resolve_exchange(const RunConfig& config, int hosts) {
  if (config.exchange != "auto") return config.exchange;
  if (config.shards > 0) return "ps";
  if (config.workers == 1) return "local";
  return hosts > 1 && config.shards != 0 ? "ps" : "auto";
}

bool uses_shards(const RunConfig& config) {
  return between_hosts(config.exchange) == "ps";
}

ShardHosts shard_hosts(const RunConfig& config) {
  if (config.placement == "dedicated") return ShardHosts::kDedicated;
  return config.placement == "spread" ? ShardHosts::kSpread : ShardHosts::kColocated;
}

Result<> check_dedicated(const RunConfig& config, int hosts) {
  if (!uses_shards(config) || config.placement != "dedicated") return {};
  if (hosts < 2) {
    return fail(Errc::kConfig,
                "placement = \"dedicated\" keeps hosts for shards only; found 1 host, expected 2 or more");
  }
  if (config.shards < hosts) return {};
  return fail(Errc::kConfig,
              fmt::format("placement = \"dedicated\" gives each shard a host of its own and leaves one or more to the "
                          "workers; found shards = {} on {} hosts, expected at most {}",
                          config.shards, hosts, hosts - 1));
}

/// A world that changes goes on from a checkpoint.
Result<> check_elastic(const RunConfig& config) {
  if (config.worker_range.is_fixed()) return {};
  if (config.checkpoint_dir.empty() || config.checkpoint_every == 0) {
    return fail(Errc::kConfig,
                "a range of workers needs checkpoints, from which another world goes on: expected "
                "checkpoint_dir and checkpoint_every");
  }
  if (config.exchange != "local" && config.placement != "dedicated") return {};
  return fail(Errc::kConfig, "a range of workers goes with neither exchange = \"local\" nor placement = \"dedicated\"");
}

Result<> check(const RunConfig& config) {
  if (config.program.empty()) {
    return fail(Errc::kUsage,
                "no program: give it after --, as in `tutti run -- ./train`, or as `program` in the file");
  }
  if (between_hosts(config.exchange) == "mpi") {
    return fail(Errc::kUsage,
                fmt::format("exchange = \"{}\" is for a program that mpirun starts itself (mpirun -np 4 {}); under "
                            "`tutti run` use ps, shm+ps, gloo, shm+gloo or nccl",
                            config.exchange, config.program.front()));
  }
  if (config.exchange == "local" && config.workers > 1) {
    return fail(Errc::kConfig,
                fmt::format("exchange = \"local\" is for one worker; found workers = {}", config.workers));
  }
  if (uses_shards(config) && config.shards == 0) {
    return fail(Errc::kConfig,
                fmt::format("exchange = \"{}\" needs shards; found shards = 0, expected 1 or more, or -1 "
                            "for one on each host",
                            config.exchange));
  }
  const auto ports = parse_ports(config.ports);
  if (!ports) return ports.error();
  const int listeners = 1 + config.shards;
  if (ports->first != 0 && ports->last - ports->first + 1 < listeners) {
    return fail(Errc::kConfig,
                fmt::format("ports: found \"{}\", expected a range of {} or more: the coordinator and each "
                            "of {} shards listen on one port",
                            config.ports, listeners, config.shards));
  }
  return {};
}

}  // namespace

int first_workers(const RunConfig& config, int room) {
  const WorkerRange& range = config.worker_range;
  return range.is_fixed() ? config.workers : std::clamp(room, range.least, range.most);
}

int cores_here() {
  return static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
}

Result<RunPlan> plan_run(RunConfig config, const std::vector<std::string>& hosts) {
  const RunConfig asked = config;
  TUTTI_TRY(check_elastic(config));
  if (config.workers == 0) config.workers = first_workers(config, static_cast<int>(hosts.size()));
  const bool one_for_each_agent = config.workers == 0;
  if (one_for_each_agent) config.workers = static_cast<int>(hosts.size());
  config.exchange = resolve_exchange(config, count_hosts(hosts));
  // So that `exchange=gloo` on the command line is enough over a file that asks for shards.
  if (!uses_shards(config)) config.shards = 0;
  const ShardHosts where = shard_hosts(config);
  if (config.shards < 0) config.shards = default_shards(hosts, config.workers, where);
  TUTTI_TRY(check_dedicated(config, count_hosts(hosts)));
  TUTTI_TRY(check(config));
  // On one host nobody would speak to them.
  if (has_host_stage(config.exchange) && count_hosts(hosts) == 1) config.shards = 0;
  if (one_for_each_agent) config.workers = count_worker_agents(hosts, config.shards, where);
  auto placement = place(hosts, config.workers, config.shards, where);
  return RunPlan{std::move(config), std::move(placement), asked};
}

Result<RunPlan> replan(const RunPlan& plan, int workers, const std::set<int>& without) {
  std::vector<std::string> hosts;
  std::vector<std::size_t> agents;
  for (std::size_t agent = 0; agent < plan.placement.size(); ++agent) {
    if (without.contains(static_cast<int>(agent))) continue;
    hosts.push_back(plan.placement[agent].host);
    agents.push_back(agent);
  }
  RunConfig config = plan.asked;
  config.workers = workers;
  auto next = plan_run(std::move(config), hosts);
  if (!next) return next;
  std::vector<AgentShare> placement(plan.placement.size());
  for (std::size_t i = 0; i < agents.size(); ++i) placement[agents[i]] = std::move(next->placement[i]);
  next->placement = std::move(placement);
  return next;
}

}  // namespace tutti::launch
