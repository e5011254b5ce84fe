// SPDX-License-Identifier: Apache-2.0
// Which agent starts which workers and shards. Workers come in blocks, so that the ranks of a host follow each other;
// shards go to one host after the other, since they live from the hosts' network. Thread safety: pure functions.
#pragma once

#include <string>
#include <vector>

namespace tutti::launch {

struct WorkerSlot {
  int rank = 0;
  int local_rank = 0;  ///< among all workers of the host, whichever agent starts them
  int local_size = 1;
  bool operator==(const WorkerSlot&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(rank, local_rank, local_size);
  }
};

/// What one agent starts.
struct AgentShare {
  std::string host;
  std::vector<WorkerSlot> workers;
  std::vector<int> shards;
  bool operator==(const AgentShare&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(host, workers, shards);
  }
};

/// The hosts that shards go to.
enum class ShardHosts {
  kColocated,  ///< those that have workers
  kSpread,     ///< all
  kDedicated,  ///< the last ones, as many as there are shards; the others have the workers
};

/// `hosts[i]` is the host of agent i; agents of one host need not follow each other. One share for each agent, in the
/// agents' order. REQUIRES: one worker or more; with kDedicated, fewer shards than hosts.
std::vector<AgentShare> place(const std::vector<std::string>& hosts, int workers, int shards,
                              ShardHosts where = ShardHosts::kColocated);

/// Where an agent's host stands among the hosts of a run.
struct HostPlace {
  int first_agent = 0;  ///< of the agents on this host
  int shards = 0;       ///< on this host
  int index = 0;        ///< among the hosts that have workers, in the order of their ranks
  int hosts = 1;        ///< that have workers
};
HostPlace host_place(const std::vector<AgentShare>& placement, int agent);

int count_hosts(const std::vector<std::string>& hosts);
/// The agents that place() considers for workers.
int count_worker_agents(const std::vector<std::string>& hosts, int shards, ShardHosts where);
/// One shard for each host that place() considers; with kDedicated for half of the hosts, so that each of them has as
/// much to carry as one with workers.
int default_shards(const std::vector<std::string>& hosts, int workers, ShardHosts where);

/// The cores of worker `local_rank` when each of a host's workers can have at least two of `cores` to itself (one for
/// training, one for the loop) and each of its shards one; otherwise all of `cores`: sharing beats being locked in.
std::vector<int> cores_of(const std::vector<int>& cores, int local_rank, int local_size, int shards_on_host);

/// One line for each agent: "agent 0 on node1: ranks 0-1, shard 0".
std::string describe(const std::vector<AgentShare>& placement);

}  // namespace tutti::launch
