// SPDX-License-Identifier: Apache-2.0
// All-reduce over NCCL, on GPUs. Buckets travel on a communication stream of their own while backward goes on; the
// program's stream waits for it by an event. Sums in NCCL's order: repeatable for one topology. Thread safety: start()
// and finish() on the thread that runs hooks and callback; abort() from any.
#pragma once

#include <memory>

#include "common/clock.h"
#include "common/control/member.h"
#include "common/result.h"
#include "worker/exchange.h"
#include "worker/rendezvous.h"

namespace tutti::worker {

/// Collective: rank 0's NCCL id travels through the run's coordinator. `member` and `clock` outlive the exchange.
Result<std::unique_ptr<Exchange>> make_nccl_exchange(Member& member, const Identity& identity, const Clock& clock,
                                                     Deadline deadline);

}  // namespace tutti::worker
