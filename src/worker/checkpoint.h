// SPDX-License-Identifier: Apache-2.0
// A run's state to and from a folder of checkpoints: what StateView names, the schedulers, the session's own state, the
// position. Thread safety: the training thread, between steps.
#pragma once

#include <string>

namespace tutti::worker {

class DataParallelImpl;

/// Collective; rank 0 writes. Raises kIo.
void save(DataParallelImpl& parallel, const std::string& folder);
/// Collective; every rank reads. False on all ranks where the folder holds no whole checkpoint. Throws MismatchError,
/// DataError.
bool load(DataParallelImpl& parallel, const std::string& folder);

}  // namespace tutti::worker
