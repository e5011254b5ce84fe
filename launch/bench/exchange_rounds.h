// SPDX-License-Identifier: Apache-2.0
// The benches allreduce and pushpull over an Exchange of the Session's: the one place where the bench uses one.
// Thread safety: the training thread.
#pragma once

#include <cstdint>

#include "launch/bench/options.h"
#include "launch/bench/report.h"
#include "tutti/session.h"

namespace tutti::bench {

/// Collective. Tensors lie in the exchange's own memory where it has some and options.memory says "exchange". Errors:
/// tutti::Error for a wrong element, and what the Session's calls throw.
Measurement measure_exchange_rounds(Session& session, const Options& options, std::uint64_t bytes);

}  // namespace tutti::bench
