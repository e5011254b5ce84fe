// SPDX-License-Identifier: Apache-2.0
// Descriptors and whole files: reads and writes that are complete or a Failure naming the path, and writes that survive
// a crash.
// Thread safety: functions without state; a FileDescriptor belongs to one thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/result.h"

namespace tutti {

/// Closes what it owns.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  explicit operator bool() const noexcept { return fd_ >= 0; }
  int get() const noexcept { return fd_; }
  /// Gives up the ownership.
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// Writes all of `bytes`, however often the system interrupts. `name` is what a Failure calls the descriptor.
Result<> write_all(int fd, std::span<const std::byte> bytes, const std::string& name);
/// Fills all of `bytes`; kBadData when the end comes first.
Result<> read_exactly(int fd, std::span<std::byte> bytes, const std::string& name);
/// The rest of the descriptor up to its end; kBadData when that is more than `bytes_max`.
Result<std::string> read_all(int fd, std::size_t bytes_max, const std::string& name);

/// The content of a file; kIo when it cannot be read, kBadData when it is larger than `bytes_max`.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);
/// Writes the file aside (path.new) and renames it: nobody reads half of it. Errors: kIo.
Result<> replace_file(const std::string& path, std::string_view content, unsigned mode);
/// Makes what was renamed or created in a folder durable.
Result<> sync_folder(const std::string& path);

}  // namespace tutti
