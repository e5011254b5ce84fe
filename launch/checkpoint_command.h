// SPDX-License-Identifier: Apache-2.0
// `tutti checkpoint list|verify|show`: what lies in a folder of checkpoints, whether it is whole, what is in it. Needs
// no LibTorch. Thread safety: the main thread.
#pragma once

#include <string>

#include "common/file_system.h"
#include "common/result.h"

namespace tutti::launch {

enum class CheckpointAction { kList, kVerify, kShow };

struct CheckpointCommand {
  CheckpointAction action = CheckpointAction::kList;
  std::string path;  ///< a folder of checkpoints, or one checkpoint
};

/// What the command prints, and the exit code it ends with.
struct CheckpointReport {
  std::string text;
  int exit_code = 0;
};

/// A table, the newest first; manifests and sizes are looked at, not every byte. Errors: kBadData where there is none.
Result<CheckpointReport> list_folder(FileSystem& files, const std::string& folder);
/// Reads every byte of one checkpoint, or of all in a folder; 65 when one is torn, which is named. Errors as above.
Result<CheckpointReport> verify_path(FileSystem& files, const std::string& path);
/// Manifest and tensors of one checkpoint. Errors: kBadData when it is torn.
Result<CheckpointReport> show_checkpoint(FileSystem& files, const std::string& path);

/// Does it, prints, and returns the exit code.
int execute(const CheckpointCommand& command);

}  // namespace tutti::launch
