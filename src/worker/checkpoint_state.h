// SPDX-License-Identifier: Apache-2.0
// A run's state to and from a checkpoint's tensors and metadata: of each model what StateView names, its schedulers and
// the plan of its buckets; the session's own state, the position in the data, the configuration. Random numbers need no
// more than seed and step: each iteration begins with those of (seed, step, rank). Thread safety: the training thread,
// between steps.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include "common/checkpoint_file.h"
#include "worker/data_position.h"

namespace tutti::worker {

class DataParallelImpl;
class SessionImpl;

/// Memory for copies of a state, kept from one to the next: pages that are there already cost nothing.
class SnapshotMemory {
 public:
  /// What was there is lost. Throws std::bad_alloc.
  std::span<std::byte> reserve(std::size_t bytes);
  /// The same ahead of time, and touches each page: the first copy costs no more than those after it. Where there is
  /// not so much memory, nothing happens.
  void prepare(std::size_t bytes) noexcept;

 private:
  struct Free {
    void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  std::size_t size_ = 0;
};

/// The first model's names stand as they are, those of the others behind "model.1/", "model.2/".
using Models = std::span<DataParallelImpl* const>;

/// What a snapshot needs of memory.
std::size_t snapshot_bytes(Models models, SessionImpl& session);

/// The state of `models` after the iteration that the loop is in, if it is in one, at the position of `iterating`,
/// copied into `memory`.
CheckpointContent take_snapshot(Models models, DataParallelImpl& iterating, SnapshotMemory& memory);

/// What of a state is no tensor.
Metadata metadata_of(Models models, SessionImpl& session, DataPosition position);

/// The other way; collective, since the buckets are laid out anew. Throws MismatchError for another program's
/// checkpoint, DataError.
void restore(Models models, DataParallelImpl& iterating, const Checkpoint& checkpoint);

}  // namespace tutti::worker
