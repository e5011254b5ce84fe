// SPDX-License-Identifier: Apache-2.0
// Checkpoints on disks that fill up, lose power, or lie: whatever happens while one is written, the one before can be
// loaded, and nothing is ever loaded that was not saved.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <set>

#include "common/checkpoint_file.h"
#include "tests/common/temporary_folder.h"
#include "tests/support/memory_file_system.h"

namespace tutti {
namespace {

using ::testing::HasSubstr;
using testing::HookedFileSystem;
using ::testing::IsEmpty;
using testing::MemoryFileSystem;
using testing::Operation;

constexpr std::uint64_t kSeed = 20261124;
const std::string kDirectory = "run/checkpoints";

/// A state whose bytes follow from its step: a load is right if and only if it equals this.
struct State {
  explicit State(std::uint64_t step_) : step(step_), weight(300), seen(7) {
    for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(step) + static_cast<float>(i) / 512;
    for (std::size_t i = 0; i < seen.size(); ++i) seen[i] = static_cast<std::int64_t>(step * 1000 + i);
  }
  CheckpointContent content() const {
    return {step,
            {{"weight", DType::kFloat32, {100, 3}, std::as_bytes(std::span(weight))},
             {"seen", DType::kInt64, {7}, std::as_bytes(std::span(seen))}},
            {{"position/step", std::to_string(step)}}};
  }
  std::uint64_t step;
  std::vector<float> weight;
  std::vector<std::int64_t> seen;
};

bool is_state(const Checkpoint& checkpoint) {
  const State state(checkpoint.step);
  const CheckpointContent expected = state.content();
  if (checkpoint.metadata != expected.metadata || checkpoint.file.tensors.size() != expected.tensors.size())
    return false;
  for (const NamedBytes& tensor : checkpoint.file.tensors) {
    const NamedBytes& wanted = expected.tensors[tensor.name == "weight" ? 0 : 1];
    if (tensor.name != wanted.name || tensor.shape != wanted.shape || tensor.bytes.size() != wanted.bytes.size() ||
        std::memcmp(tensor.bytes.data(), wanted.bytes.data(), wanted.bytes.size()) != 0)
      return false;
  }
  return true;
}

Result<> save_and_keep(FileSystem& files, const std::string& directory, std::uint64_t step, int keep) {
  const State state(step);
  TUTTI_TRY(save_checkpoint(files, directory, state.content()));
  return keep_newest(files, directory, step, keep);
}

/// The step of the newest whole checkpoint; 0: there is none.
std::uint64_t newest_step(FileSystem& files, const std::string& directory) {
  const auto newest = load_newest_checkpoint(files, directory);
  EXPECT_TRUE(newest) << newest.error().text();
  if (!newest || !newest->checkpoint) return 0;
  EXPECT_TRUE(is_state(*newest->checkpoint)) << "a checkpoint was loaded that was not saved";
  return newest->checkpoint->step;
}

/// What saving step 3 over steps 1 and 2 does, operation by operation.
std::vector<Operation> operations_of_a_save(std::uint64_t step) {
  MemoryFileSystem memory;
  for (const std::uint64_t before : {1, 2}) EXPECT_TRUE(save_and_keep(memory, kDirectory, before, 2));
  std::vector<Operation> operations;
  HookedFileSystem files(memory, [&](Operation operation, const std::string&) -> Result<> {
    operations.push_back(operation);
    return {};
  });
  EXPECT_TRUE(save_and_keep(files, kDirectory, step, 2));
  return operations;
}

struct PowerCut {};

TEST(CheckpointFaults, APowerCutAtAnyOperationLeavesTheCheckpointBeforeOrTheNewOne) {
  std::mt19937_64 random(kSeed);
  for (const std::uint64_t step : {3, 2}) {  // a new one; one that is replaced
    const auto operations = operations_of_a_save(step);
    ASSERT_GT(std::ranges::count(operations, Operation::kWrite), 3);
    ASSERT_GE(std::ranges::count(operations, Operation::kRename), step == 2 ? 2 : 1);
    std::set<std::uint64_t> seen;
    for (std::size_t cut = 0; cut < operations.size(); ++cut) {
      for (int draw = 0; draw < 40; ++draw) {
        MemoryFileSystem memory;
        for (const std::uint64_t before : {1, 2}) ASSERT_TRUE(save_and_keep(memory, kDirectory, before, 2));
        std::size_t count = 0;
        HookedFileSystem files(memory, [&](Operation, const std::string&) -> Result<> {
          if (count++ == cut) throw PowerCut();
          return {};
        });
        EXPECT_THROW((void)save_and_keep(files, kDirectory, step, 2), PowerCut);
        memory.crash(random);
        const std::uint64_t newest = newest_step(memory, kDirectory);
        EXPECT_TRUE(newest == 2 || newest == step)
            << newest << " after a cut before operation " << cut << ", " << name_of(operations[cut]);
        seen.insert(newest);

        // The run that follows clears up and goes on.
        ASSERT_TRUE(save_and_keep(memory, kDirectory, 4, 2));
        for (const std::string& name : memory.list(kDirectory).value()) EXPECT_EQ(name.size(), 17u) << name;
        EXPECT_EQ(newest_step(memory, kDirectory), 4u);
      }
    }
    EXPECT_TRUE(seen.contains(step)) << "no cut came late enough to leave the new one";
  }
}

TEST(CheckpointFaults, WhatWasSavedBeforeAPowerCutIsThereAfterIt) {
  std::mt19937_64 random(kSeed);
  for (int draw = 0; draw < 200; ++draw) {
    MemoryFileSystem memory;
    for (const std::uint64_t step : {1, 2, 3}) ASSERT_TRUE(save_and_keep(memory, kDirectory, step, 2));
    memory.crash(random);
    EXPECT_EQ(newest_step(memory, kDirectory), 3u);
  }
}

TEST(CheckpointFaults, AFullDiskAtAnyWriteLeavesTheCheckpointBeforeAndNothingHalf) {
  const auto operations = operations_of_a_save(3);
  std::size_t full = 0;
  for (std::size_t failing = 0; failing < operations.size(); ++failing) {
    const Operation operation = operations[failing];
    const bool needs_room = operation == Operation::kCreate || operation == Operation::kWrite ||
                            operation == Operation::kSync || operation == Operation::kMakeFolder ||
                            operation == Operation::kRename || operation == Operation::kSyncFolder;
    if (!needs_room) continue;
    MemoryFileSystem memory;
    for (const std::uint64_t before : {1, 2}) ASSERT_TRUE(save_and_keep(memory, kDirectory, before, 2));
    std::size_t count = 0;
    HookedFileSystem files(memory, [&](Operation, const std::string& path) -> Result<> {
      return count++ == failing ? Result<>(fail_errno("writing " + path + " failed", ENOSPC)) : Result<>();
    });
    const State state(3);
    const auto saved = save_checkpoint(files, kDirectory, state.content());
    if (saved) continue;  // the operation belongs to what follows the save
    ++full;
    EXPECT_EQ(saved.error().code, Errc::kIo);
    EXPECT_THAT(saved.error().text(), HasSubstr("No space left on device"));
    const auto names = memory.list(kDirectory).value();
    EXPECT_EQ(std::ranges::count_if(names, [](const std::string& name) { return name.ends_with(".tmp"); }), 0)
        << "before operation " << failing << ", " << name_of(operation);
    EXPECT_GE(newest_step(memory, kDirectory), 2u);
    EXPECT_TRUE(save_and_keep(files, kDirectory, 3, 2)) << "with room again";
    EXPECT_EQ(newest_step(memory, kDirectory), 3u);
  }
  EXPECT_GE(full, 10u);
}

TEST(CheckpointFaults, AFullDiskWhileOneIsReplacedLeavesIt) {
  const auto operations = operations_of_a_save(2);
  for (std::size_t failing = 0; failing < operations.size(); ++failing) {
    MemoryFileSystem memory;
    for (const std::uint64_t before : {1, 2}) ASSERT_TRUE(save_and_keep(memory, kDirectory, before, 2));
    std::size_t count = 0;
    HookedFileSystem files(memory, [&](Operation, const std::string& path) -> Result<> {
      return count++ == failing ? Result<>(fail_errno(path, ENOSPC)) : Result<>();
    });
    (void)save_and_keep(files, kDirectory, 2, 2);
    EXPECT_GE(count, failing);
    EXPECT_EQ(newest_step(memory, kDirectory), 2u) << "before operation " << failing;
    EXPECT_TRUE(memory.exists(kDirectory + "/step-000000000002").value()) << "before operation " << failing;
  }
}

/// Saves step 2 in a child that kills itself before operation `at`; false when it got to the end.
bool die_while_saving(const std::string& directory, int at) {
  const pid_t child = ::fork();
  if (child == 0) {
    DiskFileSystem disk;
    int count = 0;
    HookedFileSystem files(disk, [&](Operation operation, const std::string&) -> Result<> {
      const bool changes = operation != Operation::kExists && operation != Operation::kList;
      if (changes && count++ == at) ::kill(::getpid(), SIGKILL);
      return {};
    });
    ::_exit(save_and_keep(files, directory, 2, 2) ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST(CheckpointFaults, AProcessKilledAtEachWriteSyncAndRenameLeavesTheCheckpointBeforeOrTheNewOne) {
  DiskFileSystem disk;
  int kills = 0;
  for (bool died = true; died;) {
    const testing::TemporaryFolder folder;
    ASSERT_TRUE(save_and_keep(disk, folder.path(), 1, 2));
    died = die_while_saving(folder.path(), kills);
    const std::uint64_t newest = newest_step(disk, folder.path());
    EXPECT_TRUE(died ? newest == 1 || newest == 2 : newest == 2) << kills;
    if (died) ++kills;
    EXPECT_TRUE(save_and_keep(disk, folder.path(), 3, 1));
    EXPECT_THAT(disk.list(folder.path()).value(), ::testing::ElementsAre("step-000000000003"));
  }
  EXPECT_GE(kills, 12);
}

class TornCheckpoint : public ::testing::Test {
 protected:
  TornCheckpoint() {
    for (const std::uint64_t step : {1, 2}) EXPECT_TRUE(save_and_keep(memory_, kDirectory, step, 2));
    for (const char* name : {"tensors.safetensors", "manifest.json"}) {
      paths_.push_back(kDirectory + "/step-000000000002/" + name);
      whole_.push_back(memory_.content_of(paths_.back()));
    }
  }
  void expect_the_one_before(std::size_t file, std::string content, const std::string& what) {
    memory_.overwrite(paths_[file], std::move(content));
    EXPECT_EQ(newest_step(memory_, kDirectory), 1u) << paths_[file] << " " << what;
    memory_.overwrite(paths_[file], whole_[file]);
  }

  MemoryFileSystem memory_;
  std::vector<std::string> paths_, whole_;
};

TEST_F(TornCheckpoint, OfAnyLengthIsRefused) {
  for (std::size_t file = 0; file < paths_.size(); ++file) {
    for (std::size_t length = 0; length < whole_[file].size(); ++length)
      expect_the_one_before(file, whole_[file].substr(0, length), "cut to " + std::to_string(length));
    expect_the_one_before(file, whole_[file] + '\0', "with a byte more");
    expect_the_one_before(file, std::string(whole_[file].size(), '\0'), "with zeros for content");
  }
  EXPECT_EQ(newest_step(memory_, kDirectory), 2u);
}

TEST_F(TornCheckpoint, WithAnyOfTenThousandFlippedBytesIsRefused) {
  std::mt19937_64 random(kSeed);
  const std::size_t all = whole_[0].size() + whole_[1].size();
  for (int flip = 0; flip < 10'000; ++flip) {
    std::size_t at = random() % all;
    const std::size_t file = at < whole_[0].size() ? 0 : 1;
    if (file == 1) at -= whole_[0].size();
    const auto bits = static_cast<char>(1 + random() % 255);
    std::string content = whole_[file];
    content[at] = static_cast<char>(content[at] ^ bits);
    expect_the_one_before(file, std::move(content), "with byte " + std::to_string(at) + " flipped");
  }
  EXPECT_EQ(newest_step(memory_, kDirectory), 2u);
}

}  // namespace
}  // namespace tutti
