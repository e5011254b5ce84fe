// SPDX-License-Identifier: Apache-2.0
// All-reduce over NCCL, on GPUs. Buckets travel on a communication stream of their own while backward goes on; the
// program's stream waits for it by an event. Sums in NCCL's order: repeatable for one topology. Thread safety: start()
// and finish() on the thread that runs hooks and callback; abort() from any.
#pragma once

#include <cstdint>
#include <memory>

#include "common/clock.h"
#include "common/control/member.h"
#include "worker/exchange.h"
#include "worker/rendezvous.h"

namespace tutti::worker {

struct NcclOptions {
  Identity identity;
  std::uint32_t object = 0;      ///< order of construction in the program
  bool outlives_losses = false;  ///< keeps the inputs until the exchange is over
};

/// The ranks make a communicator in open(), and another one in go_on(): rank 0's NCCL id travels through the run's
/// store. `member` and `clock` outlive the exchange.
std::unique_ptr<Exchange> make_nccl_exchange(Member& member, NcclOptions options, const Clock& clock);

}  // namespace tutti::worker
