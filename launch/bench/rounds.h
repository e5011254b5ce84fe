// SPDX-License-Identifier: Apache-2.0
// The benches allreduce and pushpull: rounds of one exchange, without a model.
//
// How a round is timed. All ranks first meet in an exchange of 64 bytes, so that they begin within one latency of each
// other; then each takes the time of its own call, and the round's time is the slowest rank's. Small tensors are
// exchanged back to back in batches (256 KiB together, each with memory and numbers of its own), and the round's time
// is the batch's over their number: a clock and a meeting cost more than one of them. Writing the inputs and checking
// the results stand outside of the time. Thread safety: the training thread.
#pragma once

#include <vector>

#include "launch/bench/options.h"
#include "launch/bench/report.h"
#include "tutti/session.h"

namespace tutti::bench {

/// Tensors of this size that are exchanged back to back.
std::size_t batch_size(std::uint64_t bytes) noexcept;
/// Batches to measure when one took `us`: a second's, 20 at least.
int batches_for(double us) noexcept;

/// Collective. Every element of every result is checked. Errors: tutti::Error for a wrong one.
Measurement measure_rounds(Session& session, const Options& options, std::uint64_t bytes);

}  // namespace tutti::bench
