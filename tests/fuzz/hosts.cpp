// SPDX-License-Identifier: Apache-2.0
// Lists of hosts, ports and endpoints as users write them, and what is placed on them. Input: u16 workers, u16 shards,
// u16 where shards go, u16 cores, then the list of hosts as the key `hosts` takes it, a zero byte, and a text that is
// tried as ports and as an endpoint.
#include <numeric>
#include <set>
#include <vector>

#include "common/config_keys.h"
#include "common/net/connection.h"
#include "launch/launcher.h"
#include "launch/placement.h"
#include "tests/fuzz/target.h"

namespace tutti::fuzz {
namespace {

using launch::AgentShare;
using launch::ShardHosts;

// An honest list has a few hosts with a few slots; more would only be slow.
constexpr std::size_t kAgentsMax = 200;

bool is_plain(const std::string& host) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:";
  return host.find_first_not_of(allowed) == std::string::npos && host[0] != '-' && host[0] != '.' && host[0] != ':';
}

void check_placement(const std::vector<std::string>& hosts, int workers, int shards, ShardHosts where) {
  const auto placement = launch::place(hosts, workers, shards, where);
  TUTTI_ASSERT(placement.size() == hosts.size(), "each agent has its share");
  std::set<int> ranks, placed_shards;
  std::set<std::pair<std::string, int>> local_ranks;
  for (std::size_t agent = 0; agent < placement.size(); ++agent) {
    const AgentShare& share = placement[agent];
    TUTTI_ASSERT(share.host == hosts[agent], "shares come in the order of the agents");
    for (const launch::WorkerSlot& slot : share.workers) {
      TUTTI_ASSERT(0 <= slot.local_rank && slot.local_rank < slot.local_size, "local ranks count from 0");
      TUTTI_ASSERT(ranks.insert(slot.rank).second, "no rank is placed twice");
      TUTTI_ASSERT(local_ranks.emplace(share.host, slot.local_rank).second, "no local rank of a host is given twice");
    }
    for (const int shard : share.shards) TUTTI_ASSERT(placed_shards.insert(shard).second, "no shard is placed twice");
    const auto place = launch::host_place(placement, static_cast<int>(agent));
    TUTTI_ASSERT(placement[static_cast<std::size_t>(place.first_agent)].host == share.host, "a host knows its agents");
  }
  TUTTI_ASSERT(static_cast<int>(ranks.size()) == workers && *ranks.rbegin() == workers - 1, "every rank is placed");
  TUTTI_ASSERT(static_cast<int>(placed_shards.size()) == shards, "every shard is placed");
  TUTTI_ASSERT(!launch::describe(placement).empty(), "the placement can be told");
}

void check_cores(std::size_t count, int local_size, int shards) {
  std::vector<int> cores(count);
  std::iota(cores.begin(), cores.end(), 0);
  std::set<int> taken;
  for (int local_rank = 0; local_rank < local_size; ++local_rank) {
    const auto own = launch::cores_of(cores, local_rank, local_size, shards);
    if (own == cores) return;  // they share
    for (const int core : own) TUTTI_ASSERT(taken.insert(core).second, "no core is given to two workers");
  }
}

void check_hosts(const std::string& list, int workers, int shards, ShardHosts where) {
  RunConfig config;
  const AllocationWatch watch;
  if (!set_config_value(config, *find_config_key("hosts"), list).empty()) return;
  for (const std::string& host : config.hosts) TUTTI_ASSERT(is_plain(host), "a host cannot be read as an option");
  const auto hosts = launch::expand_hosts(config.hosts);
  TUTTI_ASSERT(watch.largest() <= 32 * list.size() * 65536 + 4096, "slots are bounded");
  TUTTI_ASSERT(hosts.empty() == config.hosts.empty(), "every host has a slot");
  if (hosts.empty() || hosts.size() > kAgentsMax) return;
  if (where == ShardHosts::kDedicated) shards = std::min(shards, launch::count_hosts(hosts) - 1);
  check_placement(hosts, workers, shards, where);
  TUTTI_ASSERT(launch::default_shards(hosts, workers, where) >= 0, "the default can be used");
  accept();
}

void check_ports_and_endpoint(const std::string& text) {
  if (const auto range = parse_ports(text)) {
    TUTTI_ASSERT(range->first <= range->last, "a range has an order");
    accept();
  }
  if (const auto endpoint = parse_endpoint(text)) {
    TUTTI_ASSERT(endpoint->port != 0 && !endpoint->host.empty(), "an endpoint can be connected to");
    accept();
  }
}

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti::fuzz;
  Input input(data, size);
  const int workers = 1 + static_cast<int>(input.up_to(99));
  const int shards = static_cast<int>(input.up_to(20));
  const auto where = static_cast<ShardHosts>(input.up_to(2));
  check_cores(input.up_to(256), workers, shards);
  check_hosts(input.text_until('\0'), workers, shards, where);
  check_ports_and_endpoint(input.rest_as_text());
  return 0;
}
