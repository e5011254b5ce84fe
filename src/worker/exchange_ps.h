// SPDX-License-Identifier: Apache-2.0
// The exchange through the parameter server: chunks to the shards, their rank-ordered sums back into the buckets.
// Thread safety: as Exchange says.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ps/client.h"
#include "worker/exchange.h"

namespace tutti::worker {

/// Where the shards are, in the generation that this rank is in.
struct ShardsNow {
  std::uint32_t generation = 1;
  std::vector<Endpoint> endpoints;
};
using FindShards = std::function<Result<ShardsNow>(Deadline)>;

/// `client` serves all objects of the process and outlives their exchanges. A failure of one is the failure of all.
/// With `find_shards` the exchange outlives losses (then so does the client), and connects when it is opened.
std::unique_ptr<Exchange> make_ps_exchange(ps::Client& client, FindShards find_shards = nullptr);

}  // namespace tutti::worker
