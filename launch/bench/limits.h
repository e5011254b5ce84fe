// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best, to hold the exchanges against: memcpy by every rank at once, and one TCP stream
// over loopback. Thread safety: the training thread; measure_tcp starts one of its own and joins it.
#pragma once

#include <cstdint>

#include "launch/bench/report.h"
#include "tutti/session.h"

namespace tutti::bench {

/// Collective: each rank copies `bytes` from one place to another, all at once; the slowest rank's time.
Measurement measure_memcpy(Session& session, std::uint64_t bytes);
/// Rank 0 sends itself `bytes` at a time through one connection, one way, the others stand by.
/// Errors: boost::system::system_error where loopback cannot be used.
Measurement measure_tcp(Session& session, std::uint64_t bytes);

}  // namespace tutti::bench
