// SPDX-License-Identifier: Apache-2.0
// The file system as checkpoints see it: few verbs, each of which can fail, so that a test or the simulator can hand in
// one of its own whose disk is full, whose power is cut between any two of them, and which then holds no more than what
// was synced.
// Thread safety: a DiskFileSystem has no state; a file belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/result.h"

namespace tutti {

/// A new file. Closed when destroyed; durable once sync() succeeded and its folder is synced.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual Result<> write(std::span<const std::byte> bytes) = 0;
  virtual Result<> sync() = 0;
};

class InputFile {
 public:
  virtual ~InputFile() = default;
  virtual std::uint64_t size() const noexcept = 0;
  /// The next bytes, as many as there is place for; kBadData when the file ends before.
  virtual Result<> read(std::span<std::byte> bytes) = 0;
};

/// Errors are kIo with the path and the system's reason.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// A file that must not exist.
  virtual Result<std::unique_ptr<OutputFile>> create(const std::string& path) = 0;
  virtual Result<std::unique_ptr<InputFile>> open(const std::string& path) = 0;
  /// Those above it that are missing are made, too, and synced into what was there. One that exists is fine.
  virtual Result<> make_folder(const std::string& path) = 0;
  /// Within one folder. REQUIRES: there is nothing at `to`.
  virtual Result<> rename(const std::string& from, const std::string& to) = 0;
  /// A file or folder with all that is in it. One that is not there is fine.
  virtual Result<> remove(const std::string& path) = 0;
  /// Makes what was created, renamed and removed in a folder durable.
  virtual Result<> sync_folder(const std::string& path) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  /// The names in a folder, sorted; none where the folder is missing.
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;
};

/// The machine's.
class DiskFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<OutputFile>> create(const std::string& path) override;
  Result<std::unique_ptr<InputFile>> open(const std::string& path) override;
  Result<> make_folder(const std::string& path) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<> remove(const std::string& path) override;
  Result<> sync_folder(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
};

}  // namespace tutti
