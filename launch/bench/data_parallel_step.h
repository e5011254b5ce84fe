// SPDX-License-Identifier: Apache-2.0
// The bench step through tutti::DataParallel, as a user's program has it. Thread safety: the training thread.
#pragma once

#include "launch/bench/options.h"
#include "launch/bench/report.h"
#include "tutti/session.h"

namespace tutti::bench {

/// Collective. Errors: tutti::Error for a wrong gradient, and what the Session's calls throw.
Measurement measure_data_parallel_step(Session& session, const Options& options);

}  // namespace tutti::bench
