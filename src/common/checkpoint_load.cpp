// SPDX-License-Identifier: Apache-2.0
// How a checkpoint is verified and read; checkpoint_save.cpp writes it.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <span>

#include "common/checkpoint_file.h"
#include "common/secret.h"

namespace tutti {
namespace {

constexpr std::uint64_t kManifestBytesMax = 16 << 20;
constexpr std::size_t kStepDigits = 12;
constexpr std::size_t kReadBytes = 1 << 20;
constexpr std::string_view kReplaced = ".old";

Failure damaged(const std::string& path, std::string_view expected, std::string_view found) {
  return fail(Errc::kBadData, fmt::format("{}: expected {}, found {}", path, expected, found));
}

// The step that a folder's name tells, if it is a checkpoint's.
std::optional<std::uint64_t> step_in(std::string_view name) {
  if (name.ends_with(kReplaced)) name.remove_suffix(kReplaced.size());
  if (!name.starts_with(kFolderPrefix) || name.size() != kFolderPrefix.size() + kStepDigits) return std::nullopt;
  name.remove_prefix(kFolderPrefix.size());
  std::uint64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return step;
}

std::string_view last_part(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

Result<std::unique_ptr<InputFile>> open_part(FileSystem& files, const std::string& path, std::string_view what) {
  const auto exists = files.exists(path);
  TUTTI_TRY(exists);
  if (!*exists) return damaged(path, what, "none");
  return files.open(path);
}

Result<std::string> read_text(FileSystem& files, const std::string& path) {
  auto file = open_part(files, path, "a manifest");
  TUTTI_TRY(file);
  const std::uint64_t size = (*file)->size();
  if (size > kManifestBytesMax) {
    return damaged(path, fmt::format("a manifest of at most {} bytes", kManifestBytesMax), std::to_string(size));
  }
  std::string text(size, '\0');
  TUTTI_TRY((*file)->read(std::as_writable_bytes(std::span(text))));
  return text;
}

Result<std::unique_ptr<InputFile>> open_tensors(FileSystem& files, const std::string& path,
                                                const ManifestFile& expected) {
  auto file = open_part(files, path, "the file that the manifest names");
  TUTTI_TRY(file);
  const std::uint64_t bytes = (*file)->size();
  if (bytes != expected.bytes) return damaged(path, fmt::format("{} bytes", expected.bytes), std::to_string(bytes));
  return file;
}

Result<> check_hash(const std::string& path, const ManifestFile& expected, Sha256& hash) {
  const std::string found = hex(hash.finish());
  if (found != expected.sha256) return damaged(path, "SHA-256 " + expected.sha256, found);
  return {};
}

std::string path_of(const std::string& folder, std::string_view name) {
  return fmt::format("{}/{}", folder, name);
}

}  // namespace

Result<std::vector<std::string>> list_checkpoints(FileSystem& files, const std::string& directory) {
  auto names = files.list(directory);
  TUTTI_TRY(names);
  std::erase_if(*names, [](const std::string& name) { return !step_in(name); });
  // One that is being replaced comes behind what is to replace it.
  std::ranges::stable_sort(*names, [](const std::string& a, const std::string& b) {
    return *step_in(a) != *step_in(b) ? *step_in(a) > *step_in(b) : a.size() < b.size();
  });
  return names;
}

Result<Manifest> read_manifest(FileSystem& files, const std::string& folder) {
  const std::string path = path_of(folder, kManifestFile);
  const auto text = read_text(files, path);
  TUTTI_TRY(text);
  auto manifest = parse_manifest(*text);
  if (!manifest) return std::move(manifest).error().wrap(path + " does not verify");
  if (manifest->files.size() != 1 || manifest->files[0].name != kTensorsFile)
    return damaged(path, kTensorsFile, "a list of other files");
  if (const auto named = step_in(last_part(folder)); named && *named != manifest->step)
    return damaged(path, fmt::format("step {}, as its folder says", *named), std::to_string(manifest->step));
  return manifest;
}

Result<Manifest> verify_checkpoint(FileSystem& files, const std::string& folder) {
  auto manifest = read_manifest(files, folder);
  TUTTI_TRY(manifest);
  const std::string path = path_of(folder, kTensorsFile);
  auto file = open_tensors(files, path, manifest->files[0]);
  TUTTI_TRY(file);
  const auto piece = std::make_unique_for_overwrite<std::byte[]>(kReadBytes);
  Sha256 hash;
  for (std::uint64_t left = manifest->files[0].bytes; left > 0;) {
    const std::span<std::byte> part(piece.get(), std::min<std::uint64_t>(left, kReadBytes));
    TUTTI_TRY((*file)->read(part));
    hash.update(part);
    left -= part.size();
  }
  TUTTI_TRY(check_hash(path, manifest->files[0], hash));
  return manifest;
}

Result<Checkpoint> load_checkpoint(FileSystem& files, const std::string& folder) {
  auto manifest = read_manifest(files, folder);
  TUTTI_TRY(manifest);
  const std::string path = path_of(folder, kTensorsFile);
  auto file = open_tensors(files, path, manifest->files[0]);
  TUTTI_TRY(file);
  // What is hashed is what is used: the file is not read a second time.
  const auto size = static_cast<std::size_t>((*file)->size());
  auto content = std::make_unique_for_overwrite<std::byte[]>(size);
  TUTTI_TRY((*file)->read({content.get(), size}));
  Sha256 hash;
  hash.update({content.get(), size});
  TUTTI_TRY(check_hash(path, manifest->files[0], hash));
  auto tensors = parse_tensors(std::move(content), size, path);
  TUTTI_TRY(tensors);
  return Checkpoint{folder, manifest->step, std::move(manifest->metadata), manifest->files[0].sha256,
                    std::move(*tensors)};
}

Result<NewestCheckpoint> load_newest_checkpoint(FileSystem& files, const std::string& directory) {
  const auto names = list_checkpoints(files, directory);
  TUTTI_TRY(names);
  NewestCheckpoint newest;
  for (const std::string& name : *names) {
    auto checkpoint = load_checkpoint(files, path_of(directory, name));
    if (checkpoint) {
      newest.checkpoint = std::move(*checkpoint);
      break;
    }
    if (checkpoint.error().code != Errc::kBadData) return checkpoint.error();
    newest.refused.push_back(checkpoint.error());
  }
  return newest;
}

}  // namespace tutti
