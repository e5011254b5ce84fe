// SPDX-License-Identifier: Apache-2.0
// The program `tutti` where it starts nothing, or refuses to.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "common/trace/part.h"
#include "tests/common/temporary_folder.h"
#include "tests/support/run_tutti.h"

namespace tutti::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
constexpr auto kPatience = std::chrono::seconds(20);

struct Answer {
  int exit_code;
  std::string out, err;
};
Answer ask(const std::vector<std::string>& arguments, const std::string& program = "") {
  RunTutti run({.arguments = arguments, .program = program});
  const int exit_code = run.wait(kPatience).value_or(-1);
  return {exit_code, run.out(), run.err()};
}

TEST(TuttiProgram, TellsItsVersion) {
  const Answer answer = ask({"--version"});
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_THAT(answer.out, HasSubstr("tutti 0."));
}

TEST(TuttiProgram, ExplainsEveryKey) {
  EXPECT_THAT(ask({"help", "config"}).out, HasSubstr("bucket_bytes_max"));
}

TEST(TuttiProgram, ADryRunShowsConfigurationPlacementAndLineAndStartsNothing) {
  const Answer answer =
      ask({"run", "--dry-run", "--workers", "3", "exchange=ps", "launcher=mpirun", "--", "/bin/touch", "/nowhere/x"});
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("workers = 3"));
  EXPECT_THAT(answer.out, HasSubstr("shards = 1"));
  EXPECT_THAT(answer.out, HasSubstr("agent 2 on "));
  EXPECT_THAT(answer.out, HasSubstr("mpirun"));
  EXPECT_THAT(answer.out, Not(HasSubstr("--dry-run")));
}

TEST(TuttiProgram, ADryRunShowsWhichHostsHoldOnlyShards) {
  const Answer listed = ask({"run", "--dry-run", "launcher=mpirun", "hosts=node1,node2,node3", "placement=dedicated",
                             "workers=4", "--", "/bin/true"});
  EXPECT_EQ(listed.exit_code, 0) << listed.err;
  EXPECT_THAT(listed.out, HasSubstr("agent 1 on node2: ranks 2-3\nagent 2 on node3: no worker, shard 0\n"));
  EXPECT_THAT(listed.out, HasSubstr("mpirun -np 3 "));
  RunTutti in_slurm({.arguments = {"run", "--dry-run", "placement=dedicated", "--", "/bin/true"},
                     .environment = {{"SLURM_JOB_ID", "1"},
                                     {"SLURM_STEP_ID", "0"},
                                     {"SLURM_PROCID", "0"},
                                     {"SLURM_NTASKS", "2"},
                                     {"SLURM_JOB_NUM_NODES", "2"}}});
  EXPECT_EQ(in_slurm.wait(kPatience), 0) << in_slurm.err();
  EXPECT_THAT(in_slurm.out(), HasSubstr("agent 1 on node 2: no worker, shard 0\n"));
}

TEST(TuttiProgram, MistakesEndWith64AndASentence) {
  const Answer unknown = ask({"run", "wrokers=2", "--", "true"});
  EXPECT_EQ(unknown.exit_code, 64);
  EXPECT_THAT(unknown.err, HasSubstr("workers"));
  EXPECT_EQ(ask({"run"}).exit_code, 64);
  EXPECT_EQ(ask({"server"}).exit_code, 64);
  const Answer absent = ask({"run", "--", "no-such-program"});
  EXPECT_EQ(absent.exit_code, 64);
  EXPECT_THAT(absent.err, HasSubstr("no-such-program"));
}

TEST(TuttiProgram, TheDoctorNamesWhatItFinds) {
  const Answer answer = ask({"doctor"});
  EXPECT_TRUE(answer.exit_code == 0 || answer.exit_code == 69) << answer.exit_code;
  for (const char* subject : {"LibTorch", "MPI", "NCCL", "cores", "/dev/shm", "interface lo"}) {
    EXPECT_THAT(answer.out, HasSubstr(subject));
  }
  EXPECT_EQ(answer.exit_code == 0, answer.out.find("can train") != std::string::npos);
}

TEST(TuttiProgram, ExplainsNoFolderWithoutARecording) {
  const TemporaryFolder folder;
  const Answer answer = ask({"explain", folder.path()});
  EXPECT_EQ(answer.exit_code, 65);
  EXPECT_THAT(answer.err, HasSubstr(folder.path() + " holds no recording"));
}

TEST(TuttiProgram, MakesATraceOfWhatARunHasLeft) {
  const TemporaryFolder folder;
  const std::string trace = folder.file("run.json");
  begin_part(trace, {.role = Role::kWorker, .rank = 3, .host = "node2"}, Logger::none()).value();
  const Answer beside = ask({"trace", parts_folder(trace)});
  EXPECT_EQ(beside.exit_code, 0) << beside.err;
  EXPECT_EQ(beside.out, trace + ": 1 process\n");
  EXPECT_THAT(content_of(trace), HasSubstr("rank 3 on node2"));
  EXPECT_TRUE(std::filesystem::exists(parts_folder(trace))) << "the run may go on";
  const std::string renamed = folder.file("left");
  std::filesystem::rename(parts_folder(trace), renamed);
  EXPECT_EQ(ask({"trace", renamed}).exit_code, 64);
  EXPECT_EQ(ask({"trace", renamed, folder.file("other.json")}).exit_code, 0);
  EXPECT_THAT(content_of(folder.file("other.json")), HasSubstr("rank 3 on node2"));
}

TEST(TuttiProgram, LeavesATraceAloneThatHasNoParts) {
  const TemporaryFolder folder;
  const std::string trace = folder.write("run.json", "a trace");
  std::filesystem::create_directory(parts_folder(trace));
  const Answer answer = ask({"trace", parts_folder(trace)});
  EXPECT_EQ(answer.exit_code, 65);
  EXPECT_THAT(answer.err, HasSubstr("holds no part"));
  EXPECT_EQ(content_of(trace), "a trace");
}

TEST(TuttiProgram, DoesNotNeedLibTorch) {
  const Answer answer = ask({bin_folder() + "/tutti"}, "/usr/bin/ldd");
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("libc.so"));
  for (const char* library : {"libtorch", "libc10", "libcuda", "libnccl"}) {
    EXPECT_THAT(answer.out, Not(HasSubstr(library)));
  }
}

}  // namespace
}  // namespace tutti::testing
