// SPDX-License-Identifier: Apache-2.0
// How a checkpoint is verified and read; checkpoint_save.cpp writes it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "common/checkpoint_file.h"
#include "common/file.h"
#include "common/secret.h"

namespace tutti {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kManifestBytesMax = 16 << 20;
constexpr std::size_t kStepDigits = 12;
constexpr std::size_t kReadBytes = 1 << 20;

Failure damaged(const std::string& path, std::string_view expected, std::string_view found) {
  return fail(Errc::kBadData, fmt::format("{}: expected {}, found {}", path, expected, found));
}

Result<Manifest> read_manifest(const std::string& folder) {
  const std::string path = fmt::format("{}/{}", folder, kManifestFile);
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return damaged(path, "a manifest", "none");
  const auto text = read_file(path, kManifestBytesMax);
  if (!text) return text.error();
  auto manifest = parse_manifest(*text);
  if (!manifest) return std::move(manifest).error().wrap(path + " does not verify");
  const bool has_tensors = std::ranges::count(manifest->files, kTensorsFile, &ManifestFile::name) == 1;
  if (!has_tensors || manifest->files.size() != 1) return damaged(path, kTensorsFile, "a list of other files");
  return manifest;
}

Result<Digest> hash_of(int fd, std::uint64_t bytes, const std::string& path) {
  const auto piece = std::make_unique_for_overwrite<std::byte[]>(kReadBytes);
  Sha256 hash;
  for (std::uint64_t left = bytes; left > 0;) {
    const std::span<std::byte> part(piece.get(), std::min<std::uint64_t>(left, kReadBytes));
    TUTTI_TRY(read_exactly(fd, part, path));
    hash.update(part);
    left -= part.size();
  }
  return hash.finish();
}

Result<> verify_file(const std::string& path, const ManifestFile& expected) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return damaged(path, "the file that the manifest names", "none");
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return fail_errno(path + " cannot be opened", errno);
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  if (bytes != expected.bytes) return damaged(path, fmt::format("{} bytes", expected.bytes), std::to_string(bytes));
  const auto hash = hash_of(file.get(), bytes, path);
  if (!hash) return hash.error();
  if (hex(*hash) != expected.sha256) return damaged(path, "SHA-256 " + expected.sha256, hex(*hash));
  return {};
}

Result<Manifest> verify(const std::string& folder) {
  auto manifest = read_manifest(folder);
  if (!manifest) return manifest;
  for (const ManifestFile& file : manifest->files) TUTTI_TRY(verify_file(folder + "/" + file.name, file));
  return manifest;
}

bool is_checkpoint_name(const std::string& name) {
  const auto is_digit = [](char c) { return '0' <= c && c <= '9'; };
  return name.starts_with(kFolderPrefix) && name.size() == kFolderPrefix.size() + kStepDigits &&
         std::ranges::all_of(name.substr(kFolderPrefix.size()), is_digit);
}

}  // namespace

Result<Checkpoint> load_checkpoint(const std::string& folder) {
  auto manifest = verify(folder);
  if (!manifest) return std::move(manifest).error();
  auto file = read_tensors(fmt::format("{}/{}", folder, kTensorsFile));
  if (!file) return std::move(file).error();
  return Checkpoint{folder, manifest->step, std::move(manifest->metadata), std::move(*file)};
}

Result<std::optional<std::string>> newest_checkpoint(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (const std::string name = entry->path().filename(); is_checkpoint_name(name)) names.push_back(name);
  }
  if (error == std::errc::no_such_file_or_directory) return std::optional<std::string>();
  if (error) return fail_errno(directory + " cannot be listed", error.value());

  std::ranges::sort(names, std::greater<>{});  // of equal length, so the newest comes first
  for (const std::string& name : names) {
    const std::string folder = directory + "/" + name;
    const auto manifest = verify(folder);
    if (manifest) return std::optional(folder);
    if (manifest.error().code != Errc::kBadData) return manifest.error();
  }
  return std::optional<std::string>();
}

}  // namespace tutti
