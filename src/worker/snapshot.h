// SPDX-License-Identifier: Apache-2.0
// Everything that a process needs to go on from a step: what StateView names, the program's own state, the schedulers,
// the position in the data. Checkpoints keep it, newcomers get it. Thread safety: the training thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "common/safetensors.h"

namespace tutti::worker {

class DataParallelImpl;
struct DataPosition;

/// The entries point into the tensors, which may be the live ones, and the strings.
struct Snapshot {
  std::vector<at::Tensor> tensors;
  std::vector<std::string> user;
  std::vector<NamedBytes> entries;
  Metadata metadata;
};

/// The state as it is, at `position`.
Snapshot take_snapshot(DataParallelImpl& parallel, const DataPosition& position);
/// Puts a snapshot in place of the program's state; `source` is for messages. Throws MismatchError, DataError.
void restore(DataParallelImpl& parallel, std::span<const NamedBytes> entries, const Metadata& metadata,
             const std::string& source);

/// What of the state an iteration changes before its optimizer step, as it was when the iteration began. Parameters and
/// optimizer state need no copy: nothing changes them until then.
struct StartOfStep {
  struct Buffer {
    std::string name;  ///< in the state
    at::Tensor live, copy;
  };
  std::vector<Buffer> buffers;
  std::vector<double> learning_rates;       ///< of each optimizer's groups
  std::vector<std::size_t> schedule_steps;  ///< of each schedule
  std::vector<std::string> user;
};
void remember(DataParallelImpl& parallel, StartOfStep& start);
/// The state as it was then.
Snapshot take_snapshot(DataParallelImpl& parallel, const DataPosition& position, const StartOfStep& start);

}  // namespace tutti::worker
