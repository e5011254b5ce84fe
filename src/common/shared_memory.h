// SPDX-License-Identifier: Apache-2.0
// Memory shared between processes: an anonymous sealed file (memfd), passed on by its descriptor. It has no name, so
// nothing is left behind, and it cannot shrink, so touching it never faults.
// Thread safety: the object belongs to one thread; what is in the memory says for itself who may touch it.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "common/file.h"
#include "common/result.h"

namespace tutti {

class SharedMemory {
 public:
  /// Zeros, all of them allocated now. Errors: kIo when the machine has not that much memory.
  static Result<SharedMemory> create(const char* label, std::size_t bytes);
  /// Maps what another process created. Takes `fd` over, and marks it close-on-exec. Errors: kBadData when it is not
  /// such a file, or holds fewer than `bytes_min`.
  static Result<SharedMemory> attach(int fd, std::size_t bytes_min);
  ~SharedMemory();
  SharedMemory(SharedMemory&& other) noexcept
      : file_(std::move(other.file_)), bytes_(std::exchange(other.bytes_, {})) {}
  SharedMemory& operator=(SharedMemory&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  /// Gives the whole pages of this part back to the system; they are zeros when they are touched again. Where they must
  /// be there by then, reserve() comes first.
  void give_back(std::size_t offset, std::size_t bytes) noexcept;
  /// Allocates what of this part was given back. Errors: kIo when the machine has not that much memory.
  Result<> reserve(std::size_t offset, std::size_t bytes);

  int fd() const noexcept { return file_.get(); }
  /// Not inherited by a forked child: it attaches by the descriptor.
  std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  static Result<SharedMemory> map(FileDescriptor file, std::size_t bytes);
  SharedMemory(FileDescriptor file, std::span<std::byte> bytes) : file_(std::move(file)), bytes_(bytes) {}

  FileDescriptor file_;
  std::span<std::byte> bytes_;
};

}  // namespace tutti
