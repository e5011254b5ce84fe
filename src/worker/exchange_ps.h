// SPDX-License-Identifier: Apache-2.0
// The exchange through the parameter server: chunks to the shards, their rank-ordered sums back into the buckets.
// Thread safety: as Exchange says.
#pragma once

#include <memory>

#include "ps/client.h"
#include "worker/exchange.h"

namespace tutti::worker {

/// `client` serves all objects of the process and outlives their exchanges. A failure of one is the failure of all.
std::unique_ptr<Exchange> make_ps_exchange(ps::Client& client);

}  // namespace tutti::worker
