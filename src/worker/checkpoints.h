// SPDX-License-Identifier: Apache-2.0
// When a run saves and from where it goes on. Rank 0 copies the state on the training thread and writes it in the
// background; every rank reads. Automatic checkpoints hold every DataParallel of the Session at the same moment, those
// that the program asks for hold one.
// Thread safety: the training thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/checkpoint_writer.h"
#include "common/file_system.h"
#include "worker/checkpoint_state.h"

namespace tutti::worker {

class SessionImpl;

class Checkpoints {
 public:
  /// Raises kConfig where the configuration contradicts itself.
  explicit Checkpoints(SessionImpl& session);
  ~Checkpoints();
  Checkpoints(const Checkpoints&) = delete;
  Checkpoints& operator=(const Checkpoints&) = delete;

  /// The models, in the order of their construction. Throws UsageError once the run has gone on from a checkpoint that
  /// could not hold this one.
  void attend(DataParallelImpl& model);
  void forget(DataParallelImpl& model) noexcept;

  /// Collective. Goes on from the newest whole checkpoint in checkpoint_dir, once. False where none is configured or
  /// there. `iterating` is the model whose batches the loop takes.
  bool resume(DataParallelImpl& iterating);
  /// The state comes from elsewhere: nothing is resumed.
  void skip_resume() noexcept { asked_ = true; }
  /// Throws UsageError where a loop begins that should have called resume().
  void expect_resumed() const;
  /// After an iteration, collective: saves, if all ranks have the same parameters, when checkpoint_every says so or the
  /// user wants it. The
  /// training thread stops while the state is copied, and for at most half a second for the checkpoint before; then
  /// this one is left out.
  void after_step(DataParallelImpl& iterating);

  /// Collective. The run is asked to stop: one more, if they are automatic. finish() waits for it.
  void stop(DataParallelImpl& iterating);

  /// Collective; on the disk when it returns. Raises kIo.
  void save(DataParallelImpl& model, const std::string& folder);
  /// Collective. False where the folder holds no whole checkpoint. Throws MismatchError, DataError.
  bool load(DataParallelImpl& model, const std::string& folder);

  /// Collective, at the end of the run: waits for the checkpoint that is being written. On rank 0 kIo where the last
  /// one could not be.
  Result<> finish();

 private:
  bool is_automatic() const;
  bool is_rank_0() const;
  CheckpointWriter& writer();
  void prepare_memory();
  void take(DataParallelImpl& iterating);
  bool load_newest(Models models, DataParallelImpl& iterating, const std::string& folder);
  void agree_on(const std::string& found);
  /// Collective: the others wait no longer than timeout_s for a word of rank 0's. kIo when the disk takes nothing for
  /// so long.
  Result<> await_writer();

  SessionImpl& session_;
  DiskFileSystem disk_;
  std::vector<DataParallelImpl*> models_;
  SnapshotMemory memory_;
  std::optional<CheckpointWriter> writer_;  // on rank 0, once it has something to write
  bool has_memory_ = false;                 // or somebody is at it
  bool asked_ = false;                      // resume() was called
  bool resumed_ = false;
};

}  // namespace tutti::worker
