// SPDX-License-Identifier: Apache-2.0
// Checkpoints on disk: a folder step-000000000042/ with tensors.safetensors and manifest.json. It is written under
// another name, synced and renamed, so a crash at any moment leaves the checkpoints that were there, and nothing that
// looks like one and is not.
// Thread safety: functions without state; one process writes into a directory at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/file_system.h"
#include "common/manifest.h"
#include "common/result.h"
#include "common/safetensors.h"

namespace tutti {

inline constexpr std::string_view kFolderPrefix = "step-";  // and twelve digits
inline constexpr std::string_view kTensorsFile = "tensors.safetensors";
inline constexpr std::string_view kManifestFile = "manifest.json";

/// What is to be written; the tensors' bytes belong to somebody else.
struct CheckpointContent {
  std::uint64_t step = 0;
  std::vector<NamedBytes> tensors;
  Metadata metadata;
};

struct Checkpoint {
  std::string folder;
  std::uint64_t step = 0;
  Metadata metadata;
  std::string sha256;  ///< of the tensors' file
  TensorFile file;     ///< its tensors stand in the order of their bytes: look for them by name
};

// --- writing

/// Called with the bytes written since the last call.
using WriteProgress = std::function<void(std::uint64_t bytes)>;

/// Writes a checkpoint into `directory`, which is made if it is not there; returns its folder. A checkpoint of the same
/// step is replaced. What could not be finished is taken away again. Errors: kIo with the path; kUsage for tensor names
/// that are given twice or are not UTF-8.
Result<std::string> save_checkpoint(FileSystem& files, const std::string& directory, const CheckpointContent& content,
                                    const WriteProgress& progress = {});

/// Removes what is older than the newest `keep` checkpoints up to that of `step`, and what crashes left half written.
/// That of `step`, just written, is among those kept; newer ones stay, whatever they are. REQUIRES: keep > 0.
Result<> keep_newest(FileSystem& files, const std::string& directory, std::uint64_t step, int keep);

// --- reading. Errors: kBadData with the path and what was expected, when a file is missing, torn or changed.

/// The names of the checkpoints' folders in `directory`, whole or not, the newest first. One that was being replaced by
/// another of its step when a crash came ends in ".old".
Result<std::vector<std::string>> list_checkpoints(FileSystem& files, const std::string& directory);
/// Without a look at the files that it names.
Result<Manifest> read_manifest(FileSystem& files, const std::string& folder);
/// Reads every byte.
Result<Manifest> verify_checkpoint(FileSystem& files, const std::string& folder);
Result<Checkpoint> load_checkpoint(FileSystem& files, const std::string& folder);

struct NewestCheckpoint {
  std::optional<Checkpoint> checkpoint;  ///< nothing where none is whole
  std::vector<Failure> refused;          ///< newer ones, and why
};
/// The newest checkpoint in `directory` that is whole; those that are not are passed over.
Result<NewestCheckpoint> load_newest_checkpoint(FileSystem& files, const std::string& directory);

}  // namespace tutti
