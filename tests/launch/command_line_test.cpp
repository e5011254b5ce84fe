// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "launch/commands.h"

namespace tutti::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RunCommand parse_run(const std::vector<std::string>& arguments) {
  return std::get<RunCommand>(parse_command(arguments).value());
}

TEST(CommandLine, TakesAFileKeysAndAProgram) {
  const RunCommand run = parse_run({"run", "train.toml", "seed=7", "--workers", "2", "--", "./train", "--epochs", "3"});
  EXPECT_EQ(run.request.file, "train.toml");
  EXPECT_THAT(run.request.overrides, ::testing::UnorderedElementsAre("seed=7", "workers=2"));
  EXPECT_THAT(run.request.program, ElementsAre("./train", "--epochs", "3"));
  EXPECT_FALSE(run.dry_run);
}

TEST(CommandLine, EveryKeyIsAnOptionToo) {
  EXPECT_THAT(parse_run({"run", "--bucket-bytes-max", "4096", "--", "p"}).request.overrides,
              ElementsAre("bucket_bytes_max=4096"));
  EXPECT_THAT(parse_run({"run", "--bucket_bytes_max=4096", "--", "p"}).request.overrides,
              ElementsAre("bucket_bytes_max=4096"));
  EXPECT_THAT(parse_run({"run", "--shards", "-1", "--", "p"}).request.overrides, ElementsAre("shards=-1"));
}

TEST(CommandLine, WhatFollowsTheDashesIsTheProgramsOwn) {
  const RunCommand run = parse_run({"run", "--dry-run", "--", "./train", "--dry-run", "--", "x=1"});
  EXPECT_TRUE(run.dry_run);
  EXPECT_THAT(run.request.program, ElementsAre("./train", "--dry-run", "--", "x=1"));
  EXPECT_TRUE(run.request.overrides.empty());
}

TEST(CommandLine, MistakesAreUsageErrorsThatSaySo) {
  const std::vector<std::vector<std::string>> mistakes = {
      {}, {"rum"}, {"run", "--wrokers", "2"}, {"run", "a.toml", "b.toml"}};
  for (const auto& arguments : mistakes) {
    const auto command = parse_command(arguments);
    ASSERT_FALSE(command);
    EXPECT_EQ(command.error().code, Errc::kUsage);
  }
  EXPECT_THAT(parse_command({"run", "a.toml", "b.toml"}).error().text(), HasSubstr("b.toml"));
}

TEST(CommandLine, LooksAtCheckpoints) {
  const auto command = std::get<CheckpointCommand>(parse_command({"checkpoint", "verify", "runs/c"}).value());
  EXPECT_EQ(command.action, CheckpointAction::kVerify);
  EXPECT_EQ(command.path, "runs/c");
  EXPECT_EQ(parse_command({"checkpoint"}).error().code, Errc::kUsage);
  EXPECT_EQ(parse_command({"checkpoint", "show"}).error().code, Errc::kUsage);
  EXPECT_EQ(parse_command({"checkpoint", "remove", "c"}).error().code, Errc::kUsage);
}

TEST(CommandLine, MakesATraceOfAFolder) {
  const auto trace = std::get<TraceCommand>(parse_command({"trace", "run.json.parts", "now.json"}).value());
  EXPECT_EQ(trace.folder, "run.json.parts");
  EXPECT_EQ(trace.trace, "now.json");
  EXPECT_EQ(std::get<TraceCommand>(parse_command({"trace", "run.json.parts"}).value()).trace, "");
  EXPECT_EQ(parse_command({"trace"}).error().code, Errc::kUsage);
}

TEST(CommandLine, ExplainsAFolder) {
  const auto explain = std::get<ExplainCommand>(parse_command({"explain", "runs/1", "--events", "7"}).value());
  EXPECT_EQ(explain.folder, "runs/1");
  EXPECT_EQ(explain.events, 7);
  EXPECT_EQ(std::get<ExplainCommand>(parse_command({"explain", "runs/1"}).value()).events, 40);
  EXPECT_EQ(parse_command({"explain"}).error().code, Errc::kUsage);
  EXPECT_EQ(parse_command({"explain", "runs/1", "--events", "-1"}).error().code, Errc::kUsage);
}

TEST(CommandLine, KnowsItsOtherCommands) {
  EXPECT_TRUE(std::holds_alternative<ServerCommand>(parse_command({"server"}).value()));
  EXPECT_TRUE(std::holds_alternative<DoctorCommand>(parse_command({"doctor"}).value()));
  EXPECT_THAT(std::get<PrintCommand>(parse_command({"--version"}).value()).text, HasSubstr("tutti 0."));
  EXPECT_THAT(std::get<PrintCommand>(parse_command({"help", "config"}).value()).text, HasSubstr("bucket_bytes_max"));
  EXPECT_THAT(std::get<PrintCommand>(parse_command({"--help"}).value()).text, HasSubstr("doctor"));
}

}  // namespace
}  // namespace tutti::launch
