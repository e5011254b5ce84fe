// SPDX-License-Identifier: Apache-2.0
// All-reduce over LibTorch's own Gloo, on CPUs. Sums in Gloo's order: repeatable for one number of ranks, but not the
// bits of `ps`. Thread safety: the training thread; abort() from any.
#pragma once

#include <memory>

#include "common/control/member.h"
#include "common/result.h"
#include "worker/exchange.h"
#include "worker/rendezvous.h"

namespace tutti::worker {

/// Collective over the `identity.world_size` that take part, of which this is `identity.rank`. Meets through the run's
/// store and listens on `identity.address` only. `member` outlives the exchange.
Result<std::unique_ptr<Exchange>> make_gloo_exchange(Member& member, const Identity& identity, std::uint32_t object,
                                                     const Clock& clock, Duration timeout);

}  // namespace tutti::worker
