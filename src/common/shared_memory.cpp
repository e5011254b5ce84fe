// SPDX-License-Identifier: Apache-2.0
#include "common/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/alignment.h"

namespace tutti {
namespace {
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
}  // namespace

Result<SharedMemory> SharedMemory::create(const char* label, std::size_t bytes) {
  FileDescriptor file(::memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return fail_errno("shared memory cannot be made", errno);
  if (const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes)); error != 0) {
    return fail_errno("there is no room for " + std::to_string(bytes) + " bytes of shared memory", error);
  }
  if (::fcntl(file.get(), F_ADD_SEALS, kSeals) != 0) return fail_errno("shared memory cannot be sealed", errno);
  return map(std::move(file), bytes);
}

Result<SharedMemory> SharedMemory::attach(int fd, std::size_t bytes_min) {
  FileDescriptor file(fd);
  const std::string name = "the descriptor " + std::to_string(fd);
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno(name + " cannot be used as shared memory", errno);
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) return fail(Errc::kBadData, name + " is not sealed shared memory");
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (bytes < bytes_min) {
    return fail(Errc::kBadData, name + " holds " + std::to_string(bytes) +
                                    " bytes of shared memory, expected at least " + std::to_string(bytes_min));
  }
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return fail_errno(name + " cannot be kept from children", errno);
  return map(std::move(file), bytes);
}

Result<SharedMemory> SharedMemory::map(FileDescriptor file, std::size_t bytes) {
  void* place = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (place == MAP_FAILED) return fail_errno("shared memory cannot be mapped", errno);
  SharedMemory memory(std::move(file), {static_cast<std::byte*>(place), bytes});
  if (::madvise(place, bytes, MADV_DONTFORK) != 0)
    return fail_errno("shared memory cannot be kept from children", errno);
  return memory;
}

void SharedMemory::give_back(std::size_t offset, std::size_t bytes) noexcept {
  const std::size_t begin = rounded_up(offset, kPageBytes), end = (offset + bytes) / kPageBytes * kPageBytes;
  if (begin >= end) return;
  // Where the system cannot, the memory stays: that is no failure.
  (void)::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                    static_cast<off_t>(end - begin));
}

Result<> SharedMemory::reserve(std::size_t offset, std::size_t bytes) {
  const int error = ::posix_fallocate(file_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes));
  if (error == 0) return {};
  return fail_errno("there is no room for " + std::to_string(bytes) + " bytes of shared memory", error);
}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace tutti
