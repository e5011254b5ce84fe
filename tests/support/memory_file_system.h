// SPDX-License-Identifier: Apache-2.0
// File systems for tests and the simulator. MemoryFileSystem is a disk whose power can be cut: it then holds what was
// synced, and of the rest whatever a seed draws. HookedFileSystem asks before each operation whether it may fail, or
// ends the process there.
// Thread safety: one thread at a time.
#pragma once

#include <functional>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "common/file_system.h"

namespace tutti::testing {

class MemoryFileSystem final : public FileSystem {
 public:
  MemoryFileSystem();
  ~MemoryFileSystem() override;

  Result<std::unique_ptr<OutputFile>> create(const std::string& path) override;
  Result<std::unique_ptr<InputFile>> open(const std::string& path) override;
  Result<> make_folder(const std::string& path) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<> remove(const std::string& path) override;
  Result<> sync_folder(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;

  /// Cuts the power. Of a file's bytes that were not synced, any number is left, as zeros or as they were; of a
  /// folder's changes that were not synced, the first so many. Open files are lost.
  void crash(std::mt19937_64& random);

  std::string content_of(const std::string& path) const;
  /// As if somebody else had written it, and synced.
  void overwrite(const std::string& path, std::string content);

  struct Node;

 private:
  Node* find(const std::string& path) const;

  std::shared_ptr<Node> root_;
};

enum class Operation {
  kCreate,
  kOpen,
  kWrite,
  kSync,
  kRead,
  kMakeFolder,
  kRename,
  kRemove,
  kSyncFolder,
  kExists,
  kList
};
std::string_view name_of(Operation operation);

class HookedFileSystem final : public FileSystem {
 public:
  /// A failure that the operation is to end with, without having done anything.
  using Hook = std::function<Result<>(Operation, const std::string& path)>;
  HookedFileSystem(FileSystem& files, Hook before) : files_(files), before_(std::move(before)) {}

  Result<std::unique_ptr<OutputFile>> create(const std::string& path) override;
  Result<std::unique_ptr<InputFile>> open(const std::string& path) override;
  Result<> make_folder(const std::string& path) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<> remove(const std::string& path) override;
  Result<> sync_folder(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;

 private:
  FileSystem& files_;
  const Hook before_;
};

}  // namespace tutti::testing
