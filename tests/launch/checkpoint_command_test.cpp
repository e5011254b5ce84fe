// SPDX-License-Identifier: Apache-2.0
#include "launch/checkpoint_command.h"

#include <gmock/gmock.h>

#include <array>
#include <filesystem>

#include "common/checkpoint_file.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/run_tutti.h"

namespace tutti::launch {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class CheckpointCommands : public ::testing::Test {
 protected:
  CheckpointCommands() { save(memory_, "c"); }
  static void save(FileSystem& files, const std::string& directory) {
    const std::array<float, 6> weight = {1, 2, 3, 4, 5, 6};
    for (const std::uint64_t step : {50, 100, 150}) {
      const Metadata metadata = {{"position/epoch", "3"}, {"world_size", "4"}, {"config", "seed = 1\nworkers = 4\n"}};
      ASSERT_TRUE(save_checkpoint(
          files, directory,
          {step, {{"parameters/fc.weight", DType::kFloat32, {2, 3}, std::as_bytes(std::span(weight))}}, metadata}));
    }
  }
  void flip(const std::string& path) {
    std::string content = memory_.content_of(path);
    content.back() = static_cast<char>(content.back() ^ 1);
    memory_.overwrite(path, content);
  }

  testing::MemoryFileSystem memory_;
};

TEST_F(CheckpointCommands, ListTellsStepEpochRanksAndSizeTheNewestFirst) {
  memory_.overwrite("c/step-000000000100/tensors.safetensors", "half");
  const auto report = list_folder(memory_, "c").value();
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_THAT(report.text, MatchesRegex("checkpoint +step +epoch +ranks +tensors\n"
                                        "step-000000000150 +150 +3 +4 +112 B\n"
                                        "step-000000000100 +torn: .* expected 112 bytes, found 4\n"
                                        "step-000000000050 +50 +3 +4 +112 B\n"));
}

TEST_F(CheckpointCommands, VerifyNamesWhatIsTornAndEndsWith65) {
  EXPECT_EQ(verify_path(memory_, "c")->exit_code, 0);
  flip("c/step-000000000100/tensors.safetensors");
  const auto report = verify_path(memory_, "c").value();
  EXPECT_EQ(report.exit_code, 65);
  EXPECT_THAT(report.text, MatchesRegex("step-000000000150 whole\n"
                                        "step-000000000100 torn: c/step-000000000100/tensors.safetensors: expected "
                                        "SHA-256 [0-9a-f]+, found [0-9a-f]+\n"
                                        "step-000000000050 whole\n"));
}

TEST_F(CheckpointCommands, VerifyTakesOneCheckpointToo) {
  EXPECT_EQ(verify_path(memory_, "c/step-000000000050")->text, "c/step-000000000050 whole\n");
  flip("c/step-000000000050/manifest.json");
  EXPECT_EQ(verify_path(memory_, "c/step-000000000050")->exit_code, 65);
}

TEST_F(CheckpointCommands, WhereThereIsNoneTheySaySo) {
  EXPECT_EQ(list_folder(memory_, "nowhere").error().text(), "nowhere: expected checkpoints, found none");
  EXPECT_EQ(verify_path(memory_, "nowhere").error().code, Errc::kBadData);
  EXPECT_THAT(show_checkpoint(memory_, "c").error().text(), HasSubstr("expected a manifest, found none"));
}

TEST_F(CheckpointCommands, ShowTellsManifestAndTensors) {
  const std::string text = show_checkpoint(memory_, "c/step-000000000100")->text;
  EXPECT_THAT(text, HasSubstr("step 100, 1 tensors of 24 B\ntensors.safetensors SHA-256 "));
  EXPECT_THAT(text, HasSubstr("  config:\n    seed = 1\n    workers = 4\n  position/epoch: 3\n  world_size: 4\n"));
  EXPECT_THAT(text, HasSubstr("  parameters/fc.weight: F32 [2, 3] 24 "));
}

TEST_F(CheckpointCommands, TheProgramEndsWith65ForATornOne) {
  testing::RunTutti place({.arguments = {"--version"}});
  const std::string folder = place.folder() + "/c";
  DiskFileSystem disk;
  save(disk, folder);
  testing::RunTutti whole({.arguments = {"checkpoint", "verify", folder}});
  EXPECT_EQ(whole.wait(std::chrono::seconds(20)), 0);
  std::filesystem::resize_file(folder + "/step-000000000150/manifest.json", 20);
  testing::RunTutti torn({.arguments = {"checkpoint", "verify", folder}});
  EXPECT_EQ(torn.wait(std::chrono::seconds(20)), 65);
  EXPECT_THAT(torn.out(), HasSubstr("step-000000000150 torn: " + folder + "/step-000000000150/manifest.json"));
  testing::RunTutti show({.arguments = {"checkpoint", "show", folder + "/step-000000000150"}});
  EXPECT_EQ(show.wait(std::chrono::seconds(20)), 65);
  EXPECT_THAT(show.err(), HasSubstr("does not verify"));
}

}  // namespace
}  // namespace tutti::launch
