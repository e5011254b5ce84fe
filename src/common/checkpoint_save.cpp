// SPDX-License-Identifier: Apache-2.0
// How a checkpoint is written; checkpoint_load.cpp reads it.
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "common/assert.h"
#include "common/checkpoint_file.h"
#include "common/secret.h"

namespace tutti {
namespace {

constexpr std::size_t kPieceBytes = 8 << 20;    // hashed, then written while it is in the caches
constexpr std::uint64_t kSyncBytes = 64 << 20;  // so that the system never holds a whole checkpoint back

// A new file whose size and hash are known when it is on the disk.
class HashedFile {
 public:
  HashedFile(std::string name, std::unique_ptr<OutputFile> file, const WriteProgress& progress)
      : name_(std::move(name)), file_(std::move(file)), progress_(progress) {}

  Result<> write(std::span<const std::byte> bytes) {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), kPieceBytes))) {
      TUTTI_TRY(write_piece(bytes.first(std::min(bytes.size(), kPieceBytes))));
    }
    return {};
  }
  Result<ManifestFile> finish() {
    TUTTI_TRY(sync());
    return ManifestFile{name_, bytes_, hex(hash_.finish())};
  }

 private:
  Result<> write_piece(std::span<const std::byte> piece) {
    hash_.update(piece);
    TUTTI_TRY(file_->write(piece));
    bytes_ += piece.size();
    if (progress_) progress_(piece.size());
    return bytes_ - synced_ < kSyncBytes ? Result<>() : sync();
  }
  Result<> sync() {
    TUTTI_TRY(file_->sync());
    synced_ = bytes_;
    if (progress_) progress_(0);
    return {};
  }

  const std::string name_;
  const std::unique_ptr<OutputFile> file_;
  const WriteProgress& progress_;
  Sha256 hash_;
  std::uint64_t bytes_ = 0, synced_ = 0;
};

class Writer {
 public:
  Writer(FileSystem& files, const std::string& directory, const CheckpointContent& content,
         const WriteProgress& progress)
      : files_(files),
        directory_(directory),
        content_(content),
        progress_(progress),
        place_(fmt::format("{}/{}{:012}", directory, kFolderPrefix, content.step)),
        temporary_(place_ + ".tmp"),
        aside_(place_ + ".old") {}

  Result<std::string> save() {
    TUTTI_TRY(files_.make_folder(directory_));
    Result<> written = write_files();
    if (written) written = put_in_place();
    if (!written) {
      (void)files_.remove(temporary_);  // a disk that is full gets its room back
      return written.error();
    }
    return place_;
  }

 private:
  Result<> write_files() {
    TUTTI_TRY(files_.remove(temporary_));  // left by a crash
    TUTTI_TRY(files_.make_folder(temporary_));
    const auto tensors = write_tensors();
    TUTTI_TRY(tensors);
    const std::string manifest = print_manifest({content_.step, {*tensors}, content_.metadata});
    TUTTI_TRY(
        write_file(kManifestFile, [&](HashedFile& file) { return file.write(std::as_bytes(std::span(manifest))); }));
    return files_.sync_folder(temporary_);
  }

  Result<ManifestFile> write_tensors() {
    const auto header = make_tensor_header(content_.tensors, {});
    TUTTI_TRY(header);
    return write_file(kTensorsFile, [&](HashedFile& file) -> Result<> {
      TUTTI_TRY(file.write(std::as_bytes(std::span(header->bytes))));
      for (const std::size_t i : header->order) TUTTI_TRY(file.write(content_.tensors[i].bytes));
      return {};
    });
  }

  template <class WriteContent>
  Result<ManifestFile> write_file(std::string_view name, WriteContent write_content) {
    auto created = files_.create(fmt::format("{}/{}", temporary_, name));
    TUTTI_TRY(created);
    HashedFile file(std::string(name), std::move(*created), progress_);
    TUTTI_TRY(write_content(file));
    return file.finish();
  }

  // A folder cannot be renamed onto one that holds files: what is there steps aside first. Between the two renames it
  // is still found, as ".old".
  Result<> put_in_place() {
    const auto occupied = files_.exists(place_);
    TUTTI_TRY(occupied);
    if (*occupied) {
      TUTTI_TRY(files_.remove(aside_));
      TUTTI_TRY(files_.rename(place_, aside_));
    }
    if (auto renamed = files_.rename(temporary_, place_); !renamed) {
      if (*occupied) (void)files_.rename(aside_, place_);
      return renamed;
    }
    TUTTI_TRY(files_.sync_folder(directory_));
    (void)files_.remove(aside_);  // if not now, keep_newest() does it
    return {};
  }

  FileSystem& files_;
  const std::string& directory_;
  const CheckpointContent& content_;
  const WriteProgress& progress_;
  const std::string place_, temporary_, aside_;
};

}  // namespace

Result<std::string> save_checkpoint(FileSystem& files, const std::string& directory, const CheckpointContent& content,
                                    const WriteProgress& progress) {
  return Writer(files, directory, content, progress).save();
}

Result<> keep_newest(FileSystem& files, const std::string& directory, std::uint64_t step, int keep) {
  TUTTI_ASSERT(keep > 0, "the checkpoint that was just written is kept");
  const auto names = files.list(directory);
  TUTTI_TRY(names);
  const std::string newest = fmt::format("{}{:012}", kFolderPrefix, step);
  std::vector<std::string> unwanted;
  for (auto name = names->rbegin(); name != names->rend(); ++name) {
    const bool is_checkpoint = name->starts_with(kFolderPrefix) && name->size() == newest.size();
    const bool is_left_over = name->starts_with(kFolderPrefix) && (name->ends_with(".tmp") || name->ends_with(".old"));
    if (is_left_over || (is_checkpoint && *name <= newest && keep-- <= 0)) unwanted.push_back(*name);
  }
  for (const std::string& name : unwanted) TUTTI_TRY(files.remove(directory + "/" + name));
  return unwanted.empty() ? Result<>() : files.sync_folder(directory);
}

}  // namespace tutti
