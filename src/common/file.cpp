// SPDX-License-Identifier: Apache-2.0
#include "common/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace tutti {
namespace {

constexpr std::size_t kReadStep = 64 << 10;

// read(2) that is not bothered by signals: the bytes read, 0 at the end.
Result<std::size_t> read_some(int fd, void* place, std::size_t size, const std::string& name) {
  for (;;) {
    const ssize_t got = ::read(fd, place, size);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return fail_errno("reading " + name + " failed", errno);
  }
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<> write_all(int fd, std::span<const std::byte> bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      return fail_errno("writing " + name + " failed", errno);
    }
  }
  return {};
}

Result<> read_exactly(int fd, std::span<std::byte> bytes, const std::string& name) {
  const std::size_t wanted = bytes.size();
  while (!bytes.empty()) {
    const auto got = read_some(fd, bytes.data(), bytes.size(), name);
    if (!got) return got.error();
    if (*got == 0) {
      return fail(Errc::kBadData, name + " ends after " + std::to_string(wanted - bytes.size()) + " bytes, expected " +
                                      std::to_string(wanted));
    }
    bytes = bytes.subspan(*got);
  }
  return {};
}

Result<std::string> read_all(int fd, std::size_t bytes_max, const std::string& name) {
  std::string content;
  for (;;) {
    const std::size_t before = content.size();
    content.resize(before + kReadStep);
    const auto got = read_some(fd, content.data() + before, kReadStep, name);
    if (!got) return got.error();
    content.resize(before + *got);
    if (*got == 0) return content;
    if (content.size() > bytes_max) {
      return fail(Errc::kBadData, name + " is larger than the " + std::to_string(bytes_max) + " bytes allowed");
    }
  }
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(path + " cannot be opened", errno);
  return read_all(file.get(), bytes_max, path);
}

Result<> replace_file(const std::string& path, std::string_view content, unsigned mode) {
  const std::string aside = path + ".new";
  const FileDescriptor file(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file) return fail_errno("cannot write " + aside, errno);
  TUTTI_TRY(write_all(file.get(), std::as_bytes(std::span(content)), aside));
  if (::rename(aside.c_str(), path.c_str()) != 0) return fail_errno("cannot write " + path, errno);
  return {};
}

Result<> sync_folder(const std::string& path) {
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) return fail_errno("the folder " + path + " cannot be synced", errno);
  return {};
}

}  // namespace tutti
