// SPDX-License-Identifier: Apache-2.0
// The list of a checkpoint's files with their sizes and hashes, written last: a checkpoint is whole if and only if its
// manifest verifies. It carries a hash of itself, so no flipped bit anywhere goes unnoticed.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/safetensors.h"
#include "common/secret.h"

namespace tutti {

inline constexpr int kCheckpointFormat = 1;

struct ManifestFile {
  std::string name;  ///< within the checkpoint's folder
  std::uint64_t bytes = 0;
  std::string sha256;  ///< in hexadecimal digits
  bool operator==(const ManifestFile&) const = default;
};

struct Manifest {
  std::uint64_t step = 0;
  std::vector<ManifestFile> files;
  Metadata metadata;
  bool operator==(const Manifest&) const = default;
};

/// One line of JSON.
std::string print_manifest(const Manifest& manifest);
/// Errors: kBadData for anything that print_manifest did not write, byte for byte, and for a format of another version.
Result<Manifest> parse_manifest(std::string_view text);

}  // namespace tutti
