// SPDX-License-Identifier: Apache-2.0
#include "launch/run_plan.h"

#include <fmt/format.h>

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

Result<RunPlan> plan_run(RunConfig config, const std::vector<std::string>& hosts) {
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
  return RunPlan{std::move(config), std::move(placement)};
}

}  // namespace tutti::launch
