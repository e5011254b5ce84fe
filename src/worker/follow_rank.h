// SPDX-License-Identifier: Apache-2.0
// One rank's state becomes everybody's: model and optimizers, bit for bit, also where another rank has no optimizer
// state yet. Thread safety: the training thread, between steps.
#pragma once

namespace tutti::worker {

class DataParallelImpl;

/// Collective. Names and shapes are broadcast, the bytes travel through an exchange of their own, as gradients do.
/// What a DataParallel ignores stays each rank's own.
void follow_rank(DataParallelImpl& parallel, int root);

}  // namespace tutti::worker
