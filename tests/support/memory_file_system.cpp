// SPDX-License-Identifier: Apache-2.0
#include "tests/support/memory_file_system.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tutti::testing {

/// A file or a folder. What would be left after a loss of power is kept beside what is seen.
struct MemoryFileSystem::Node {
  using Entries = std::map<std::string, std::shared_ptr<Node>>;
  bool is_folder = false;
  std::string content;
  std::size_t synced_bytes = 0;
  Entries entries;
  std::vector<Entries> versions{{}};  ///< the synced one, then one after each change since

  void changed() { versions.push_back(entries); }
};

namespace {

using Node = MemoryFileSystem::Node;

struct Split {
  std::string folder, name;
};
Split split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

class MemoryOutput final : public OutputFile {
 public:
  explicit MemoryOutput(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  Result<> write(std::span<const std::byte> bytes) override {
    node_->content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  Result<> sync() override {
    node_->synced_bytes = node_->content.size();
    return {};
  }

 private:
  const std::shared_ptr<Node> node_;
};

class MemoryInput final : public InputFile {
 public:
  MemoryInput(std::string path, std::string content) : path_(std::move(path)), content_(std::move(content)) {}
  std::uint64_t size() const noexcept override { return content_.size(); }
  Result<> read(std::span<std::byte> bytes) override {
    if (bytes.size() > content_.size() - at_) return fail(Errc::kBadData, path_ + " ends early");
    std::memcpy(bytes.data(), content_.data() + at_, bytes.size());
    at_ += bytes.size();
    return {};
  }

 private:
  const std::string path_, content_;
  std::size_t at_ = 0;
};

std::size_t draw(std::mt19937_64& random, std::size_t below) {
  return static_cast<std::size_t>(random() % below);
}

void lose_power(Node& node, std::mt19937_64& random) {
  if (node.is_folder) {
    node.entries = node.versions[draw(random, node.versions.size())];
    node.versions = {node.entries};
    for (auto& [name, entry] : node.entries) lose_power(*entry, random);
    return;
  }
  node.content.resize(node.synced_bytes + draw(random, node.content.size() - node.synced_bytes + 1));
  if (random() % 2 == 0)
    std::fill(node.content.begin() + static_cast<std::ptrdiff_t>(node.synced_bytes), node.content.end(), '\0');
  node.synced_bytes = node.content.size();
}

}  // namespace

MemoryFileSystem::MemoryFileSystem() : root_(std::make_shared<Node>()) {
  root_->is_folder = true;
}
MemoryFileSystem::~MemoryFileSystem() = default;

MemoryFileSystem::Node* MemoryFileSystem::find(const std::string& path) const {
  Node* node = root_.get();
  for (std::size_t at = 0; node != nullptr && at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    if (end > at) {
      const auto found = node->entries.find(path.substr(at, end - at));
      node = found == node->entries.end() ? nullptr : found->second.get();
    }
    at = end + 1;
  }
  return node;
}

Result<std::unique_ptr<OutputFile>> MemoryFileSystem::create(const std::string& path) {
  const auto [folder, name] = split(path);
  Node* parent = find(folder);
  if (parent == nullptr || parent->entries.contains(name)) return fail_errno(path + " cannot be created", EEXIST);
  const auto node = std::make_shared<Node>();
  parent->entries[name] = node;
  parent->changed();
  return std::unique_ptr<OutputFile>(new MemoryOutput(node));
}

Result<std::unique_ptr<InputFile>> MemoryFileSystem::open(const std::string& path) {
  const Node* node = find(path);
  if (node == nullptr) return fail_errno(path + " cannot be opened", ENOENT);
  return std::unique_ptr<InputFile>(new MemoryInput(path, node->content));
}

Result<> MemoryFileSystem::make_folder(const std::string& path) {
  if (find(path) != nullptr) return {};
  const auto [folder, name] = split(path);
  TUTTI_TRY(make_folder(folder));
  Node* parent = find(folder);
  const auto node = std::make_shared<Node>();
  node->is_folder = true;
  parent->entries[name] = node;
  parent->versions = {parent->entries};  // synced, as FileSystem promises
  return {};
}

Result<> MemoryFileSystem::rename(const std::string& from, const std::string& to) {
  Node* parent = find(split(from).folder);
  const auto found = parent->entries.find(split(from).name);
  if (found == parent->entries.end() || parent->entries.contains(split(to).name))
    return fail_errno(from + " cannot be renamed to " + to, ENOENT);
  parent->entries[split(to).name] = found->second;
  parent->entries.erase(split(from).name);
  parent->changed();
  return {};
}

Result<> MemoryFileSystem::remove(const std::string& path) {
  Node* node = find(path);
  if (node == nullptr) return {};
  const auto entries = node->entries;
  for (const auto& [name, entry] : entries) TUTTI_TRY(remove(path + "/" + name));
  Node* parent = find(split(path).folder);
  parent->entries.erase(split(path).name);
  parent->changed();
  return {};
}

Result<> MemoryFileSystem::sync_folder(const std::string& path) {
  Node* node = find(path);
  if (node == nullptr) return fail_errno("the folder " + path + " cannot be synced", ENOENT);
  node->versions = {node->entries};
  return {};
}

Result<bool> MemoryFileSystem::exists(const std::string& path) {
  return find(path) != nullptr;
}

Result<std::vector<std::string>> MemoryFileSystem::list(const std::string& path) {
  std::vector<std::string> names;
  if (const Node* node = find(path)) {
    for (const auto& [name, entry] : node->entries) names.push_back(name);
  }
  return names;
}

void MemoryFileSystem::crash(std::mt19937_64& random) {
  lose_power(*root_, random);
}

std::string MemoryFileSystem::content_of(const std::string& path) const {
  return find(path)->content;
}

void MemoryFileSystem::overwrite(const std::string& path, std::string content) {
  Node* node = find(path);
  node->content = std::move(content);
  node->synced_bytes = node->content.size();
}

std::string_view name_of(Operation operation) {
  static constexpr std::string_view kNames[] = {"create", "open",   "write",       "sync",   "read", "make_folder",
                                                "rename", "remove", "sync_folder", "exists", "list"};
  return kNames[static_cast<std::size_t>(operation)];
}

namespace {

class HookedOutput final : public OutputFile {
 public:
  HookedOutput(std::string path, std::unique_ptr<OutputFile> file, const HookedFileSystem::Hook& before)
      : path_(std::move(path)), file_(std::move(file)), before_(before) {}
  Result<> write(std::span<const std::byte> bytes) override {
    TUTTI_TRY(before_(Operation::kWrite, path_));
    return file_->write(bytes);
  }
  Result<> sync() override {
    TUTTI_TRY(before_(Operation::kSync, path_));
    return file_->sync();
  }

 private:
  const std::string path_;
  const std::unique_ptr<OutputFile> file_;
  const HookedFileSystem::Hook& before_;
};

class HookedInput final : public InputFile {
 public:
  HookedInput(std::string path, std::unique_ptr<InputFile> file, const HookedFileSystem::Hook& before)
      : path_(std::move(path)), file_(std::move(file)), before_(before) {}
  std::uint64_t size() const noexcept override { return file_->size(); }
  Result<> read(std::span<std::byte> bytes) override {
    TUTTI_TRY(before_(Operation::kRead, path_));
    return file_->read(bytes);
  }

 private:
  const std::string path_;
  const std::unique_ptr<InputFile> file_;
  const HookedFileSystem::Hook& before_;
};

}  // namespace

Result<std::unique_ptr<OutputFile>> HookedFileSystem::create(const std::string& path) {
  TUTTI_TRY(before_(Operation::kCreate, path));
  auto file = files_.create(path);
  TUTTI_TRY(file);
  return std::unique_ptr<OutputFile>(new HookedOutput(path, std::move(*file), before_));
}

Result<std::unique_ptr<InputFile>> HookedFileSystem::open(const std::string& path) {
  TUTTI_TRY(before_(Operation::kOpen, path));
  auto file = files_.open(path);
  TUTTI_TRY(file);
  return std::unique_ptr<InputFile>(new HookedInput(path, std::move(*file), before_));
}

Result<> HookedFileSystem::make_folder(const std::string& path) {
  TUTTI_TRY(before_(Operation::kMakeFolder, path));
  return files_.make_folder(path);
}

Result<> HookedFileSystem::rename(const std::string& from, const std::string& to) {
  TUTTI_TRY(before_(Operation::kRename, from));
  return files_.rename(from, to);
}

Result<> HookedFileSystem::remove(const std::string& path) {
  TUTTI_TRY(before_(Operation::kRemove, path));
  return files_.remove(path);
}

Result<> HookedFileSystem::sync_folder(const std::string& path) {
  TUTTI_TRY(before_(Operation::kSyncFolder, path));
  return files_.sync_folder(path);
}

Result<bool> HookedFileSystem::exists(const std::string& path) {
  TUTTI_TRY(before_(Operation::kExists, path));
  return files_.exists(path);
}

Result<std::vector<std::string>> HookedFileSystem::list(const std::string& path) {
  TUTTI_TRY(before_(Operation::kList, path));
  return files_.list(path);
}

}  // namespace tutti::testing
