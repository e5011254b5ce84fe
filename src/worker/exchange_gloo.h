// SPDX-License-Identifier: Apache-2.0
// All-reduce over LibTorch's own Gloo, on CPUs. Sums in Gloo's order: repeatable for one number of ranks, but not the
// bits of `ps`. Thread safety: the training thread; abort() from any.
#pragma once

#include <cstdint>
#include <memory>

#include "common/clock.h"
#include "common/control/member.h"
#include "worker/exchange.h"
#include "worker/rendezvous.h"

namespace tutti::worker {

struct GlooOptions {
  Identity identity;             ///< in the world of those that take part: rank, world_size, address
  std::uint32_t object = 0;      ///< order of construction in the program
  Duration timeout{};            ///< for each of Gloo's own waits
  bool outlives_losses = false;  ///< keeps the inputs until the exchange is over
};

/// Those that take part meet in open(), and again in go_on(): through the run's store, and each listens on its
/// `identity.address` only. `member` and `clock` outlive the exchange.
std::unique_ptr<Exchange> make_gloo_exchange(Member& member, GlooOptions options, const Clock& clock);

}  // namespace tutti::worker
