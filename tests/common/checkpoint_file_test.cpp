// SPDX-License-Identifier: Apache-2.0
#include "common/checkpoint_file.h"

#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <set>

#include "tests/common/temporary_folder.h"

namespace tutti {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class CheckpointFile : public ::testing::Test {
 protected:
  std::string directory() const { return folder_.file("checkpoints"); }
  std::string save(std::uint64_t step, float value) {
    const std::array<float, 4> weight = {value, 2, 3, 4};
    const std::array<std::int64_t, 1> seen = {77};
    const std::vector<NamedBytes> tensors = {
        {"layer.weight", DType::kFloat32, {2, 2}, std::as_bytes(std::span(weight))},
        {"layer.seen", DType::kInt64, {}, std::as_bytes(std::span(seen))},
    };
    const auto folder = save_checkpoint(directory(), step, tensors, {{"epoch", "3"}, {"note", "a \"quoted\" note"}});
    EXPECT_TRUE(folder) << folder.error().text();
    return folder ? *folder : "";
  }
  std::string newest() const {
    const auto found = newest_checkpoint(directory());
    EXPECT_TRUE(found) << found.error().text();
    return found && *found ? fs::path(**found).filename().string() : "none";
  }
  static float first_weight(const std::string& folder) {
    const auto checkpoint = load_checkpoint(folder);
    if (!checkpoint) return -1;
    float value = 0;
    for (const NamedBytes& tensor : checkpoint->file.tensors) {
      if (tensor.name == "layer.weight") std::memcpy(&value, tensor.bytes.data(), sizeof value);
    }
    return value;
  }
  void expect_refused(const std::string& folder, const std::string& what) const {
    const auto checkpoint = load_checkpoint(folder);
    ASSERT_FALSE(checkpoint) << what;
    EXPECT_EQ(checkpoint.error().code, Errc::kBadData) << what;
    EXPECT_THAT(checkpoint.error().text(), HasSubstr(folder)) << what;
    EXPECT_EQ(newest(), "step-000000000001") << what;
  }
  // As a new file: some file systems sync one that is truncated and written again.
  static void overwrite(const std::string& path, const std::string& content) {
    fs::remove(path);
    std::ofstream(path, std::ios::binary) << content;
  }
  testing::TemporaryFolder folder_;
};

TEST_F(CheckpointFile, ReadsBackWhatItWrote) {
  const std::string folder = save(42, 1.5f);
  EXPECT_THAT(folder, EndsWith("/step-000000000042"));
  const auto checkpoint = load_checkpoint(folder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().text();
  EXPECT_EQ(checkpoint->step, 42u);
  EXPECT_EQ(checkpoint->metadata.at("note"), "a \"quoted\" note");
  ASSERT_EQ(checkpoint->file.tensors.size(), 2u);
  EXPECT_EQ(checkpoint->file.tensors[0].name, "layer.seen");
  EXPECT_THAT(checkpoint->file.tensors[1].shape, ElementsAre(2, 2));
  EXPECT_EQ(first_weight(folder), 1.5f);
}

TEST_F(CheckpointFile, LeavesNothingElseBehind) {
  save(1, 1);
  save(2, 2);
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory())) names.insert(entry.path().filename());
  EXPECT_THAT(names, ElementsAre("step-000000000001", "step-000000000002"));
}

TEST_F(CheckpointFile, FindsTheNewest) {
  EXPECT_EQ(newest(), "none");
  save(9, 1);
  save(100, 1);
  fs::create_directory(directory() + "/step-000000000200.tmp");
  fs::create_directory(directory() + "/other");
  EXPECT_EQ(newest(), "step-000000000100");
}

TEST_F(CheckpointFile, ReplacesOneOfTheSameStep) {
  save(1, 1);
  EXPECT_EQ(first_weight(save(1, 8)), 8);
}

TEST_F(CheckpointFile, ClearsWhatACrashLeft) {
  fs::create_directories(directory() + "/step-000000000001.tmp");
  std::ofstream(directory() + "/step-000000000001.tmp/tensors.safetensors") << "half";
  fs::create_directories(directory() + "/step-000000000001.old/deep");
  EXPECT_EQ(first_weight(save(1, 3)), 3);
  EXPECT_FALSE(fs::exists(directory() + "/step-000000000001.old"));
}

TEST_F(CheckpointFile, RefusesEveryTruncationAndUsesTheOneBefore) {
  save(1, 1);
  const std::string folder = save(2, 2);
  for (const std::string name : {"tensors.safetensors", "manifest.json"}) {
    const std::string path = folder + "/" + name, whole = content_of(path);
    for (std::size_t length = 0; length < whole.size(); length += 7) {
      overwrite(path, whole.substr(0, length));
      expect_refused(folder, name + " cut to " + std::to_string(length));
    }
    overwrite(path, whole + " ");
    expect_refused(folder, name + " with a byte more");
    overwrite(path, whole);
  }
  EXPECT_EQ(newest(), "step-000000000002");
}

TEST_F(CheckpointFile, RefusesEveryFlippedByteAndUsesTheOneBefore) {
  save(1, 1);
  const std::string folder = save(2, 2);
  for (const std::string name : {"tensors.safetensors", "manifest.json"}) {
    const std::string path = folder + "/" + name, whole = content_of(path);
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const char flip : {'\x01', '\x20', '\x80'}) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ flip);
        overwrite(path, damaged);
        expect_refused(folder, name + " flipped at " + std::to_string(at));
      }
    }
    overwrite(path, whole);
  }
  EXPECT_EQ(newest(), "step-000000000002");
}

TEST_F(CheckpointFile, RefusesAMissingFileAndUsesTheOneBefore) {
  save(1, 1);
  for (const std::string name : {"tensors.safetensors", "manifest.json"}) {
    const std::string folder = save(2, 2);
    fs::remove(folder + "/" + name);
    expect_refused(folder, name + " is missing");
  }
}

TEST_F(CheckpointFile, RefusesAManifestThatNamesOtherFiles) {
  save(1, 1);
  const std::string folder = save(2, 2);
  auto manifest = parse_manifest(content_of(folder + "/manifest.json")).value();
  manifest.files[0].name = "../step-000000000001/tensors.safetensors";
  overwrite(folder + "/manifest.json", print_manifest(manifest));
  expect_refused(folder, "a file outside the folder");
}

TEST_F(CheckpointFile, NamesADirectoryThatItCannotMake) {
  const std::string file = folder_.write("file", "");
  const auto saved = save_checkpoint(file + "/below", 1, {}, {});
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, Errc::kIo);
  EXPECT_THAT(saved.error().text(), HasSubstr(file + "/below"));
}

TEST(Manifest, RefusesAnotherFormat) {
  Manifest manifest;
  manifest.files = {{"tensors.safetensors", 3, "00"}};
  std::string text = print_manifest(manifest);
  ASSERT_TRUE(parse_manifest(text));
  EXPECT_EQ(*parse_manifest(text), manifest);
  text.replace(text.find("\"format\":1"), 10, "\"format\":2");
  EXPECT_THAT(parse_manifest(text).error().text(), HasSubstr("another format"));
}

// JSON is UTF-8: such a checkpoint was once written, and then taken for a torn one.
TEST_F(CheckpointFile, WritesNothingThatItCouldNotReadBack) {
  const std::vector<NamedBytes> named_wrong = {{"weight\xff", DType::kFloat32, {0}, {}}};
  EXPECT_EQ(save_checkpoint(directory(), 1, named_wrong, {}).error().code, Errc::kUsage);
  EXPECT_EQ(save_checkpoint(directory(), 1, {}, {{"note", "caf\xe9"}}).error().code, Errc::kUsage);
  EXPECT_EQ(newest(), "none");
  EXPECT_TRUE(save_checkpoint(directory(), 1, {}, {{"note", "caf\xc3\xa9"}}));
  EXPECT_EQ(newest(), "step-000000000001");
}

}  // namespace
}  // namespace tutti
