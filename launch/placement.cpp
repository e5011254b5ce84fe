// SPDX-License-Identifier: Apache-2.0
#include "launch/placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

namespace tutti::launch {
namespace {

/// The agents of one host, in their order.
struct Host {
  std::string name;
  std::vector<std::size_t> agents;
};

std::vector<Host> group_by_host(const std::vector<std::string>& hosts) {
  std::vector<Host> groups;
  for (std::size_t agent = 0; agent < hosts.size(); ++agent) {
    auto found =
        std::find_if(groups.begin(), groups.end(), [&](const Host& host) { return host.name == hosts[agent]; });
    if (found == groups.end()) found = groups.insert(groups.end(), Host{hosts[agent], {}});
    found->agents.push_back(agent);
  }
  return groups;
}

/// The hosts that may have workers.
std::span<const Host> worker_hosts(std::span<const Host> groups, int shards, ShardHosts where) {
  return where == ShardHosts::kDedicated ? groups.first(groups.size() - static_cast<std::size_t>(shards)) : groups;
}

int count_agents(std::span<const Host> groups) {
  int agents = 0;
  for (const Host& host : groups) agents += static_cast<int>(host.agents.size());
  return agents;
}

void place_workers(std::span<const Host> groups, int workers, std::vector<AgentShare>& shares) {
  const int agents = count_agents(groups);
  int place = 0;  // of the agent, when they are counted host by host
  int rank = 0;
  for (const Host& host : groups) {
    int local_size = 0;
    for (std::size_t agent : host.agents) {
      const int share = workers / agents + (place++ < workers % agents ? 1 : 0);
      for (int i = 0; i < share; ++i) shares[agent].workers.push_back({rank++, local_size++, 0});
    }
    for (std::size_t agent : host.agents) {
      for (WorkerSlot& slot : shares[agent].workers) slot.local_size = local_size;
    }
  }
}

/// Workers come first on every host, so that the hosts without any are the last ones.
std::span<const Host> hosts_in_use(std::span<const Host> groups, const std::vector<AgentShare>& shares) {
  const auto is_idle = [&](const Host& host) { return shares[host.agents.front()].workers.empty(); };
  const auto idle = std::ranges::find_if(groups, is_idle);
  return groups.first(static_cast<std::size_t>(idle - groups.begin()));
}

std::span<const Host> shard_hosts(std::span<const Host> groups, int shards, ShardHosts where,
                                  const std::vector<AgentShare>& shares) {
  if (where == ShardHosts::kDedicated) return groups.last(static_cast<std::size_t>(shards));
  return where == ShardHosts::kSpread ? groups : hosts_in_use(groups, shares);
}

void place_shards(std::span<const Host> groups, int shards, std::vector<AgentShare>& shares) {
  for (std::size_t shard = 0; shard < static_cast<std::size_t>(shards); ++shard) {
    const Host& host = groups[shard % groups.size()];
    const std::size_t round = shard / groups.size();
    shares[host.agents[round % host.agents.size()]].shards.push_back(static_cast<int>(shard));
  }
}

std::string ranks_text(const std::vector<WorkerSlot>& workers) {
  if (workers.empty()) return "no worker";
  if (workers.size() == 1) return fmt::format("rank {}", workers.front().rank);
  return fmt::format("ranks {}-{}", workers.front().rank, workers.back().rank);
}

}  // namespace

std::vector<AgentShare> place(const std::vector<std::string>& hosts, int workers, int shards, ShardHosts where) {
  std::vector<AgentShare> shares;
  for (const std::string& host : hosts) shares.push_back({host, {}, {}});
  const auto groups = group_by_host(hosts);
  place_workers(worker_hosts(groups, shards, where), workers, shares);
  place_shards(shard_hosts(groups, shards, where, shares), shards, shares);
  return shares;
}

HostPlace host_place(const std::vector<AgentShare>& placement, int agent) {
  const std::string& host = placement[static_cast<std::size_t>(agent)].host;
  HostPlace place{-1, 0, 0, 0};
  std::vector<std::string> seen;  // hosts with workers
  for (std::size_t i = 0; i < placement.size(); ++i) {
    const AgentShare& share = placement[i];
    if (share.host == host && place.first_agent < 0) place.first_agent = static_cast<int>(i);
    if (share.host == host) place.shards += static_cast<int>(share.shards.size());
    if (share.workers.empty() || std::find(seen.begin(), seen.end(), share.host) != seen.end()) continue;
    if (share.host == host) place.index = static_cast<int>(seen.size());
    seen.push_back(share.host);
  }
  place.hosts = static_cast<int>(seen.size());
  return place;
}

int count_hosts(const std::vector<std::string>& hosts) {
  return static_cast<int>(group_by_host(hosts).size());
}

int count_worker_agents(const std::vector<std::string>& hosts, int shards, ShardHosts where) {
  const auto groups = group_by_host(hosts);
  return count_agents(worker_hosts(groups, shards, where));
}

int default_shards(const std::vector<std::string>& hosts, int workers, ShardHosts where) {
  if (where == ShardHosts::kSpread) return count_hosts(hosts);
  if (where == ShardHosts::kDedicated) return count_hosts(hosts) / 2;
  const auto groups = group_by_host(hosts);
  return static_cast<int>(hosts_in_use(groups, place(hosts, workers, 0)).size());
}

std::vector<int> cores_of(const std::vector<int>& cores, int local_rank, int local_size, int shards_on_host) {
  const int free = static_cast<int>(cores.size()) - shards_on_host;
  const int each = free / local_size;
  if (each < 2) return cores;
  const auto first = cores.begin() + local_rank * each;
  return {first, first + each};
}

std::string describe(const std::vector<AgentShare>& placement) {
  std::string text;
  for (std::size_t agent = 0; agent < placement.size(); ++agent) {
    const AgentShare& share = placement[agent];
    text += fmt::format("agent {} on {}: {}", agent, share.host, ranks_text(share.workers));
    if (!share.shards.empty()) {
      text += fmt::format(", shard{} {}", share.shards.size() > 1 ? "s" : "", fmt::join(share.shards, " "));
    }
    text += '\n';
  }
  return text;
}

}  // namespace tutti::launch
