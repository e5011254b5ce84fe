// SPDX-License-Identifier: Apache-2.0
// Checkpoints on disk: a folder step-000000000042/ with tensors.safetensors and manifest.json. It is written under
// another name, synced and renamed, so a crash at any moment leaves the checkpoints that were there, and nothing that
// looks like one and is not.
// Thread safety: functions without state; one process writes into a directory at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/manifest.h"
#include "common/result.h"
#include "common/safetensors.h"

namespace tutti {

inline constexpr std::string_view kFolderPrefix = "step-";  // and twelve digits
inline constexpr std::string_view kTensorsFile = "tensors.safetensors";
inline constexpr std::string_view kManifestFile = "manifest.json";

struct Checkpoint {
  std::string folder;
  std::uint64_t step = 0;
  Metadata metadata;
  TensorFile file;  ///< its tensors stand in the order of their bytes: look for them by name
};

/// Writes a checkpoint into `directory`, which is made if it is not there; returns its folder. A checkpoint of the same
/// step is replaced. Errors: kIo with the path; kUsage for tensor names that are given twice, and for text that is not
/// UTF-8.
Result<std::string> save_checkpoint(const std::string& directory, std::uint64_t step,
                                    std::span<const NamedBytes> tensors, const Metadata& metadata);

/// Reads one checkpoint. Errors: kBadData with the path and what was expected, when a file is missing, torn or changed.
Result<Checkpoint> load_checkpoint(const std::string& folder);

/// The folder of the newest checkpoint in `directory` that is whole; those that are not are passed over. Nothing when
/// there is none.
Result<std::optional<std::string>> newest_checkpoint(const std::string& directory);

}  // namespace tutti
