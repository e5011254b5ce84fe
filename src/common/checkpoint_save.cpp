// SPDX-License-Identifier: Apache-2.0
// How a checkpoint is written; checkpoint_load.cpp reads it.
#include "common/checkpoint_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "common/file.h"
#include "common/secret.h"

namespace tutti {
namespace {

namespace fs = std::filesystem;

// A new file whose size and hash are known when it is on the disk.
class HashedFile {
 public:
  HashedFile(const std::string& folder, std::string_view name)
      : path_(folder + "/" + std::string(name)),
        name_(name),
        fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {}

  Result<> write(std::span<const std::byte> bytes) {
    if (!fd_) return fail_errno(path_ + " cannot be created", open_error_);
    hash_.update(bytes);
    bytes_ += bytes.size();
    return write_all(fd_.get(), bytes, path_);
  }
  Result<ManifestFile> finish() {
    if (::fsync(fd_.get()) != 0) return fail_errno(path_ + " cannot be synced", errno);
    return ManifestFile{name_, bytes_, hex(hash_.finish())};
  }

 private:
  const std::string path_;
  const std::string name_;
  FileDescriptor fd_;
  const int open_error_ = fd_ ? 0 : errno;
  Sha256 hash_;
  std::uint64_t bytes_ = 0;
};

Result<ManifestFile> write_tensors(const std::string& folder, std::span<const NamedBytes> tensors) {
  const auto header = make_tensor_header(tensors, {});
  if (!header) return header.error();
  HashedFile file(folder, kTensorsFile);
  TUTTI_TRY(file.write(std::as_bytes(std::span(header->bytes))));
  for (const std::size_t i : header->order) TUTTI_TRY(file.write(tensors[i].bytes));
  return file.finish();
}

Result<> write_files(const std::string& folder, std::uint64_t step, std::span<const NamedBytes> tensors,
                     const Metadata& metadata) {
  auto tensor_file = write_tensors(folder, tensors);
  if (!tensor_file) return std::move(tensor_file).error();
  const std::string manifest = print_manifest({step, {*tensor_file}, metadata});
  HashedFile file(folder, kManifestFile);
  TUTTI_TRY(file.write(std::as_bytes(std::span(manifest))));
  const auto written = file.finish();
  if (!written) return written.error();
  return sync_folder(folder);
}

Result<> rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return fail_errno(from + " cannot be renamed to " + to, errno);
}

Result<> remove_folder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return fail_errno(path + " cannot be removed", error.value());
  return {};
}

// A folder cannot be renamed onto one that holds files: what is there steps aside first.
Result<> put_in_place(const std::string& written, const std::string& place) {
  const std::string aside = place + ".old";
  TUTTI_TRY(remove_folder(aside));
  if (fs::exists(fs::symlink_status(place))) TUTTI_TRY(rename_path(place, aside));
  TUTTI_TRY(rename_path(written, place));
  return remove_folder(aside);
}

}  // namespace

Result<std::string> save_checkpoint(const std::string& directory, std::uint64_t step,
                                    std::span<const NamedBytes> tensors, const Metadata& metadata) {
  TUTTI_TRY(check_metadata(metadata));
  const std::string place = fmt::format("{}/{}{:012}", directory, kFolderPrefix, step);
  const std::string temporary = place + ".tmp";
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return fail_errno(directory + " cannot be made", error.value());
  TUTTI_TRY(remove_folder(temporary));  // left by a crash
  if (::mkdir(temporary.c_str(), 0755) != 0) return fail_errno(temporary + " cannot be made", errno);
  TUTTI_TRY(write_files(temporary, step, tensors, metadata));
  TUTTI_TRY(put_in_place(temporary, place));
  TUTTI_TRY(sync_folder(directory));
  return place;
}

}  // namespace tutti
