// SPDX-License-Identifier: Apache-2.0
// Files of named tensors in the safetensors format (github.com/huggingface/safetensors): the header's length as u64, a
// JSON header with each tensor's dtype, shape and place, then the tensors' bytes without a gap. Python and others read
// them as they are.
// Thread safety: functions without state; values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "common/result.h"

namespace tutti {

struct NamedBytes {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

using Metadata = std::map<std::string, std::string>;
/// kUsage for text that is not UTF-8: it could be written, but not be read back.
Result<> check_metadata(const Metadata& metadata);

/// A file's content, with the tensors pointing into it. Each is aligned to its elements when tutti wrote the file.
struct TensorFile {
  std::unique_ptr<std::byte[]> content;
  std::vector<NamedBytes> tensors;  ///< in the order of their bytes
  Metadata metadata;
};

/// Length and header, padded so that the bytes after it are aligned, and the order in which the tensors' bytes follow:
/// wide elements first. Errors: kUsage for a name given twice or reserved, and for text that is not UTF-8.
struct TensorHeader {
  std::string bytes;
  std::vector<std::size_t> order;
};
/// REQUIRES: each tensor has as many bytes as its shape says.
Result<TensorHeader> make_tensor_header(std::span<const NamedBytes> tensors, const Metadata& metadata);

/// Reads a file's bytes. Errors: kBadData, naming `path` and what was expected, for whatever is torn, overlapping or
/// unknown.
Result<TensorFile> parse_tensors(std::unique_ptr<std::byte[]> content, std::size_t size, const std::string& path);

}  // namespace tutti
