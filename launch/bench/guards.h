// SPDX-License-Identifier: Apache-2.0
// The bench guards: what a run pays at every step for not losing its results to a fault.
//
// What is measured. Two models with the same parameters take turns in the same processes, some steps each: one in a
// loop over batches(), with all that watches over a run's numbers and keeps it able to go on (gradients that are not
// finite, the comparison of replicas, what a replacement would need, checkpoints, as far as they are configured); one
// in a bare loop that only averages its gradients. The ranks begin each step together, and its time is the slowest
// rank's. In the end both models hold the same bits, or the bench has failed. A checkpoint holds the state of both, and
// its writing in the background falls on both models' steps. Thread safety: the training thread.
#pragma once

#include "launch/bench/options.h"
#include "launch/bench/report.h"
#include "tutti/session.h"

namespace tutti::bench {

/// Collective. Beside the guarded steps' times: bare_us (the median of the others), cost (the median, over turns, of
/// how much longer the guarded steps took, as a part of the bare ones), mean_cost (the same of all steps together,
/// those with a checkpoint or a comparison among them). Errors: tutti::Error where the models differ in the end.
Measurement measure_guards(Session& session, const Options& options);

}  // namespace tutti::bench
