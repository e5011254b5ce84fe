// SPDX-License-Identifier: Apache-2.0
// The benches guards and watching: what a run pays at every step for not losing its results to a fault, and for being
// watched.
//
// What is measured. Two runs of the same training take turns on the same cores, some steps each, while the other's
// ranks sleep: a guarded one, in a loop over batches() with all that watches over its numbers and keeps it able to go
// on (replacements, gradients that are not finite, the comparison of replicas, checkpoints), and a bare one, which has
// none of that and only averages its gradients. For watching both are guarded, and one of them is watched by all there
// is (the monitor, TensorBoard, a timeline), the other by nothing. The ranks begin each step together, and its time is
// the slowest rank's. In the end both hold the same bits, or the bench has failed. A checkpoint's writing in the
// background falls on both. Thread safety: the training thread.
#pragma once

#include <optional>

#include "launch/bench/options.h"
#include "launch/bench/report.h"
#include "tutti/session.h"

namespace tutti::bench {

/// Collective, in one of the two runs; rank 0 of the one whose cost it is returns the measurement. Beside its steps'
/// times: bare_us (the median of the others), cost (the median, over turns, of how much longer its steps took,
/// as a part of the bare ones), mean_cost (the same of all steps together, those with a checkpoint or a comparison
/// among them). Errors: tutti::Error where the parameters differ in the end, or where the other run is silent.
std::optional<Measurement> measure_guards(Session& session, const Options& options);

}  // namespace tutti::bench
