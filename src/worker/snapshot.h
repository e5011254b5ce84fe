// SPDX-License-Identifier: Apache-2.0
// What a newcomer gets: the state from which the step began that the others wait in, as a checkpoint would hold it. A
// survivor's tensors are not copied for it: they stay as they are while it waits. Thread safety: the training thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>
#include <vector>

#include "common/safetensors.h"
#include "worker/data_position.h"

namespace tutti::worker {

class DataParallelImpl;

/// The entries point into the tensors, which are the live ones, and the strings.
struct Snapshot {
  std::vector<at::Tensor> tensors;
  std::vector<std::string> user;
  std::vector<NamedBytes> entries;
  Metadata metadata;
};

/// The state as it is, at `position`.
Snapshot live_snapshot(DataParallelImpl& parallel, const DataPosition& position);

/// What of the state an iteration changes before its optimizer step, as it was when the iteration began. Parameters and
/// optimizer state need no copy: nothing changes them until then. Between steps only what the program has asked to be
/// called can change buffers and its own states: where that is nothing, they are not copied once more.
struct StartOfStep {
  struct Buffer {
    std::string name;  ///< in the state
    at::Tensor live, copy;
  };
  DataPosition position;
  bool has_copies = false;  ///< of buffers and the program's own states; otherwise they are still what they were
  std::vector<Buffer> buffers;
  std::vector<double> learning_rates;       ///< of each optimizer's groups
  std::vector<std::size_t> schedule_steps;  ///< of each schedule
  std::vector<std::string> user;
};
/// REQUIRES: the wrapped model is there. remember() asks nothing of it.
StartOfStep begin_to_remember(DataParallelImpl& parallel);
void remember(DataParallelImpl& parallel, StartOfStep& start, bool copies);
/// The state as it was then.
Snapshot snapshot_of(DataParallelImpl& parallel, const StartOfStep& start);

}  // namespace tutti::worker
