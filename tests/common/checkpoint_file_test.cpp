// SPDX-License-Identifier: Apache-2.0
#include "common/checkpoint_file.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

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
    const CheckpointContent content = {step,
                                       {{"layer.weight", DType::kFloat32, {2, 2}, std::as_bytes(std::span(weight))},
                                        {"layer.seen", DType::kInt64, {}, std::as_bytes(std::span(seen))}},
                                       {{"epoch", "3"}, {"note", "a \"quoted\" note"}}};
    const auto folder = save_checkpoint(disk_, directory(), content);
    EXPECT_TRUE(folder) << folder.error().text();
    return folder ? *folder : "";
  }
  std::string newest() {
    const auto found = load_newest_checkpoint(disk_, directory());
    EXPECT_TRUE(found) << found.error().text();
    return found && found->checkpoint ? fs::path(found->checkpoint->folder).filename().string() : "none";
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory())) names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
  float first_weight(const std::string& folder) {
    const auto checkpoint = load_checkpoint(disk_, folder);
    if (!checkpoint) return -1;
    float value = 0;
    for (const NamedBytes& tensor : checkpoint->file.tensors) {
      if (tensor.name == "layer.weight") std::memcpy(&value, tensor.bytes.data(), sizeof value);
    }
    return value;
  }
  void expect_refused(const std::string& folder, const std::string& what) {
    const auto checkpoint = load_checkpoint(disk_, folder);
    ASSERT_FALSE(checkpoint) << what;
    EXPECT_EQ(checkpoint.error().code, Errc::kBadData) << what;
    EXPECT_THAT(checkpoint.error().text(), HasSubstr(folder)) << what;
    EXPECT_FALSE(verify_checkpoint(disk_, folder)) << what;
    EXPECT_EQ(newest(), "step-000000000001") << what;
  }
  // As a new file: some file systems sync one that is truncated and written again.
  static void overwrite(const std::string& path, const std::string& content) {
    fs::remove(path);
    std::ofstream(path, std::ios::binary) << content;
  }
  DiskFileSystem disk_;
  testing::TemporaryFolder folder_;
};

TEST_F(CheckpointFile, ReadsBackWhatItWrote) {
  const std::string folder = save(42, 1.5f);
  EXPECT_THAT(folder, EndsWith("/step-000000000042"));
  const auto checkpoint = load_checkpoint(disk_, folder);
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
  EXPECT_THAT(names(), ElementsAre("step-000000000001", "step-000000000002"));
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

TEST_F(CheckpointFile, RefusesOneThatWasRenamedToAnotherStep) {
  save(1, 1);
  fs::rename(save(2, 2), directory() + "/step-000000000009");
  expect_refused(directory() + "/step-000000000009", "renamed");
  fs::rename(directory() + "/step-000000000009", directory() + "/best");
  EXPECT_EQ(first_weight(directory() + "/best"), 2) << "a name of the user's own tells no step";
}

TEST_F(CheckpointFile, TellsWhyNewerOnesWereRefused) {
  save(1, 1);
  fs::remove(save(2, 2) + "/manifest.json");
  overwrite(save(3, 3) + "/tensors.safetensors", "half");
  const auto newest = load_newest_checkpoint(disk_, directory()).value();
  EXPECT_EQ(newest.checkpoint->step, 1u);
  ASSERT_EQ(newest.refused.size(), 2u);
  EXPECT_THAT(newest.refused[0].text(),
              HasSubstr("step-000000000003/tensors.safetensors: expected 168 bytes, found 4"));
  EXPECT_THAT(newest.refused[1].text(), HasSubstr("step-000000000002/manifest.json: expected a manifest, found none"));
}

TEST_F(CheckpointFile, KeepsTheNewestAndClearsWhatCrashesLeft) {
  for (const std::uint64_t step : {1, 2, 3, 4}) save(step, 1);
  fs::create_directories(directory() + "/step-000000000002.tmp");
  fs::create_directories(directory() + "/step-000000000003.old");
  fs::create_directories(directory() + "/other");
  ASSERT_TRUE(keep_newest(disk_, directory(), 4, 2));
  EXPECT_THAT(names(), ElementsAre("other", "step-000000000003", "step-000000000004"));
}

TEST_F(CheckpointFile, NeverRemovesTheOneThatWasJustWrittenForNewerOnesThatAreTorn) {
  for (const std::uint64_t step : {1, 2, 8, 9}) save(step, 1);
  fs::remove(directory() + "/step-000000000008/manifest.json");
  fs::remove(directory() + "/step-000000000009/manifest.json");
  ASSERT_TRUE(keep_newest(disk_, directory(), 2, 1));
  EXPECT_THAT(names(), ElementsAre("step-000000000002", "step-000000000008", "step-000000000009"));
  EXPECT_EQ(newest(), "step-000000000002");
}

TEST_F(CheckpointFile, MakesTheFoldersAboveAndListsNoneWhereThereIsNone) {
  EXPECT_THAT(list_checkpoints(disk_, directory() + "/a/b").value(), ::testing::IsEmpty());
  ASSERT_TRUE(save_checkpoint(disk_, directory() + "/a/b", {}));
  EXPECT_THAT(list_checkpoints(disk_, directory() + "/a/b").value(), ElementsAre("step-000000000000"));
}

TEST_F(CheckpointFile, NamesADirectoryThatItCannotMake) {
  const std::string file = folder_.write("file", "");
  const auto saved = save_checkpoint(disk_, file + "/below", {});
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

TEST(Manifest, KeepsBytesThatAreNoText) {
  Manifest manifest;
  manifest.metadata["config"] = "program = \"./\xff\xfe\"";
  EXPECT_EQ(parse_manifest(print_manifest(manifest)).value(), manifest);
}

}  // namespace
}  // namespace tutti
