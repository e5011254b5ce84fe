// SPDX-License-Identifier: Apache-2.0
#include "common/file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "common/file.h"

namespace tutti {
namespace {

namespace fs = std::filesystem;

class DiskOutput final : public OutputFile {
 public:
  DiskOutput(std::string path, FileDescriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Result<> write(std::span<const std::byte> bytes) override { return write_all(fd_.get(), bytes, path_); }
  Result<> sync() override {
    if (::fsync(fd_.get()) != 0) return fail_errno(path_ + " cannot be synced", errno);
    return {};
  }

 private:
  const std::string path_;
  const FileDescriptor fd_;
};

class DiskInput final : public InputFile {
 public:
  DiskInput(std::string path, FileDescriptor fd, std::uint64_t size)
      : path_(std::move(path)), fd_(std::move(fd)), size_(size) {}
  std::uint64_t size() const noexcept override { return size_; }
  Result<> read(std::span<std::byte> bytes) override { return read_exactly(fd_.get(), bytes, path_); }

 private:
  const std::string path_;
  const FileDescriptor fd_;
  const std::uint64_t size_;
};

std::string folder_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

}  // namespace

Result<std::unique_ptr<OutputFile>> DiskFileSystem::create(const std::string& path) {
  FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) return fail_errno(path + " cannot be created", errno);
  return std::unique_ptr<OutputFile>(new DiskOutput(path, std::move(fd)));
}

Result<std::unique_ptr<InputFile>> DiskFileSystem::open(const std::string& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return fail_errno(path + " cannot be opened", errno);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  return std::unique_ptr<InputFile>(new DiskInput(path, std::move(fd), size));
}

Result<> DiskFileSystem::make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return tutti::sync_folder(folder_of(path));
  const int error = errno;
  std::error_code ignored;
  if (error == EEXIST && fs::is_directory(path, ignored)) return {};
  if (error != ENOENT || folder_of(path) == path) return fail_errno(path + " cannot be made", error);
  TUTTI_TRY(make_folder(folder_of(path)));
  if (::mkdir(path.c_str(), 0755) != 0) return fail_errno(path + " cannot be made", errno);
  return tutti::sync_folder(folder_of(path));
}

Result<> DiskFileSystem::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return fail_errno(from + " cannot be renamed to " + to, errno);
}

Result<> DiskFileSystem::remove(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return fail_errno(path + " cannot be removed", error.value());
  return {};
}

Result<> DiskFileSystem::sync_folder(const std::string& path) {
  return tutti::sync_folder(path);
}

Result<bool> DiskFileSystem::exists(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::none) return fail_errno(path + " cannot be looked at", error.value());
  return fs::exists(status);
}

Result<std::vector<std::string>> DiskFileSystem::list(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail_errno(path + " cannot be listed", error.value());
  std::ranges::sort(names);
  return names;
}

}  // namespace tutti
