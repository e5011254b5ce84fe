// SPDX-License-Identifier: Apache-2.0
// Whole runs of two workers on this machine: how they end, what is told, and that nothing is left.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "launch/run_parent.h"
#include "tests/common/temporary_folder.h"
#include "tests/support/run_tutti.h"

namespace tutti::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kStart = std::chrono::seconds(20);  // of a busy machine
constexpr auto kEnd = std::chrono::seconds(30);
constexpr auto kGone = std::chrono::seconds(5);

using Words = std::vector<std::string>;

/// `tutti run launcher=... workers=2 ... -- program`; a loss ends the run.
RunTutti::Options two_workers(const std::string& launcher, const Words& program,
                              const Words& keys = {"exchange=gloo"}) {
  Words arguments = {"run", "launcher=" + launcher, "workers=2", "replacements=0"};
  arguments.insert(arguments.end(), keys.begin(), keys.end());
  arguments.push_back("--");
  arguments.insert(arguments.end(), program.begin(), program.end());
  return {.arguments = arguments};
}
Words shell(const std::string& script) {
  return {"/bin/sh", "-c", script};
}
Words steps(const Words& options) {
  Words program = {bin_folder() + "/tutti_steps"};
  program.insert(program.end(), options.begin(), options.end());
  return program;
}

/// The lines on stderr that tell how the run ended.
Words cause_lines(const std::string& err) {
  Words lines;
  std::istringstream text(err);
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("tutti: ") && line.find(" on ") != std::string::npos) lines.push_back(line);
  }
  return lines;
}

/// Each with the way its agents are started.
class RunTest : public ::testing::TestWithParam<const char*> {
 protected:
  bool local() const { return std::string(GetParam()) == "local"; }
};
INSTANTIATE_TEST_SUITE_P(Local, RunTest, ::testing::Values("local"));
#if TUTTI_WITH_MPI
INSTANTIATE_TEST_SUITE_P(Mpirun, RunTest, ::testing::Values("mpirun"));
#endif

TEST_P(RunTest, EndsWellWhenEveryWorkerDoes) {
  RunTutti run(two_workers(GetParam(), steps({"--steps", "20"})));
  EXPECT_EQ(run.wait(kEnd), 0) << run.err();
  EXPECT_EQ(run.out(), "rank 0 of 2 did 20 steps\n") << "rank 0's output is the run's";
  EXPECT_THAT(run.log("rank-1.log"), HasSubstr("rank 1 of 2 did 20 steps"));
  EXPECT_THAT(run.log("config.toml"), HasSubstr("workers = 2"));
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, StartsShardsBesideTheWorkers) {
  RunTutti run(two_workers(GetParam(), steps({"--await", "shard/0", "shard/1"}), {"exchange=ps", "shards=2"}));
  EXPECT_EQ(run.wait(kEnd), 0) << run.err();
  EXPECT_EQ(run.out(), "rank 0 of 2 did 10 steps\n") << "it waited for both shards' endpoints";
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, NeedsNothingOfAProgramButItsExitCode) {
  RunTutti run(two_workers(GetParam(), shell("echo hello; echo warning >&2")));
  EXPECT_EQ(run.wait(kEnd), 0) << run.err();
  EXPECT_EQ(run.out(), "hello\n");
  EXPECT_THAT(run.err(), HasSubstr("warning\n"));
}

TEST_P(RunTest, AWorkerThatFailsIsNamedInOneLineWithItsLastWords) {
  RunTutti run(two_workers(GetParam(), steps({"--steps", "1000000", "--grief", "exit", "--rank", "1", "--at", "37"})));
  EXPECT_EQ(run.wait(kEnd), 70);
  EXPECT_THAT(cause_lines(run.err()),
              ElementsAre(AllOf(HasSubstr("rank 1 on "), HasSubstr("exited with code 3 at step 37"),
                                HasSubstr("last error: rank 1 comes to grief"), HasSubstr("logs: "))));
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, AWorkerThatIsKilledIsNamedWithHostSignalAndStep) {
  RunTutti run(two_workers(GetParam(), steps({"--steps", "1000000", "--grief", "kill", "--rank", "1", "--at", "5"})));
  EXPECT_EQ(run.wait(kEnd), 70);
  EXPECT_THAT(cause_lines(run.err()),
              ElementsAre(AllOf(HasSubstr("rank 1 on "), HasSubstr("signal 9 (Killed) at step 5"))));
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, AFailedRunTellsItsCauseThenWhereTheRecordingsAreAndTheyNameTheDead) {
  RunTutti run(two_workers(GetParam(), steps({"--steps", "1000000", "--grief", "kill", "--rank", "1", "--at", "50"})));
  EXPECT_EQ(run.wait(kEnd), 70);
  const std::string err = run.err();
  const std::size_t cause = err.find("tutti: rank 1 on "), recordings = err.find("tutti: recordings: ");
  ASSERT_NE(cause, std::string::npos) << err;
  ASSERT_NE(recordings, std::string::npos) << err;
  EXPECT_LT(cause, recordings);
  EXPECT_THAT(err, HasSubstr("at step 50 (0."));
  EXPECT_THAT(err, HasSubstr(" s after iteration_begin 50): last error: rank 1 comes to grief; rank 0 waited 0."));

  const std::string folder = err.substr(recordings + 19, err.find(';', recordings) - recordings - 19);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), local() ? 3 : 4) << "workers and agents";
  RunTutti explain({.arguments = {"explain", folder}});
  EXPECT_EQ(explain.wait(kStart), 0) << explain.err();
  EXPECT_THAT(explain.out(), HasSubstr(" stopped first: killed by signal 9 (Killed); it last recorded iteration_begin "
                                       "50 at -0."));
  EXPECT_THAT(explain.out(), HasSubstr("done: step 49\n"));
  EXPECT_THAT(explain.out(), ContainsRegex("rank 0 on .* waited for all ranks since [-+]0\\.[0-9]+ s; done"));
}

TEST_P(RunTest, ARunThatEndsWellKeepsNoRecordings) {
  RunTutti run(two_workers(GetParam(), steps({"--steps", "20", "--await", "shard/0"}), {"exchange=ps", "shards=1"}));
  EXPECT_EQ(run.wait(kEnd), 0) << run.err();
  EXPECT_THAT(run.err(), Not(HasSubstr("recordings")));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run.folder())) {
    EXPECT_NE(entry.path().filename(), "recordings");
    EXPECT_NE(entry.path().extension(), ".rec");
  }
}

TEST_P(RunTest, EndsWithinTwoSecondsOfADeath) {
  RunTutti run(two_workers(GetParam(), shell("sleep 1000; true")));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  kill(run.processes("/bin/sh").front().pid, SIGKILL);
  EXPECT_TRUE(run.wait_for_output("killed by signal 9", std::chrono::seconds(2))) << run.err();
  EXPECT_EQ(run.wait(kEnd), 70);
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, AProgramThatCannotBeExecutedIsNamed) {
  RunTutti run(two_workers(GetParam(), {"/bin/sh"}, {"exchange=gloo"}));
  EXPECT_EQ(run.wait(kEnd), 0) << "a shell with nothing to read";
  const std::string script = run.folder() + "/no-format";
  std::ofstream(script) << "\x01\x02";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  RunTutti broken(two_workers(GetParam(), {script}));
  EXPECT_EQ(broken.wait(kEnd), 70);
  EXPECT_THAT(cause_lines(broken.err()),
              ElementsAre(AllOf(HasSubstr("cannot execute"), HasSubstr("Exec format error"))));
}

TEST_P(RunTest, ChildrenSeeNothingOfMpi) {
  RunTutti run(two_workers(GetParam(), shell("env")));
  EXPECT_EQ(run.wait(kEnd), 0);
  EXPECT_THAT(run.out(), HasSubstr("TUTTI_FD="));
  EXPECT_THAT(run.out(), Not(::testing::ContainsRegex("(OMPI|PMIX|PMI)_")));
}

TEST_P(RunTest, TheSecretIsInNoArgumentVariableOrLog) {
  const TemporaryFolder folder;
  const std::string secret = "a sentence that nobody guesses";
  const std::string file = folder.write("secret", secret);
  ASSERT_EQ(chmod(file.c_str(), 0600), 0);
  RunTutti run(two_workers(GetParam(), shell("env; cat /proc/$$/cmdline /proc/$PPID/cmdline"),
                           {"exchange=gloo", "secret_file=" + file}));
  EXPECT_EQ(run.wait(kEnd), 0) << run.err();
  EXPECT_THAT(run.out(), HasSubstr(file)) << "its name is no secret";
  EXPECT_THAT(run.out() + run.err() + run.log("config.toml") + run.log("rank-1.log"), Not(HasSubstr(secret)));
}

TEST_P(RunTest, ASecretFileThatOthersCanReadEndsItBeforeAnythingIsStarted) {
  const TemporaryFolder folder;
  const std::string file = folder.write("secret", "a sentence that nobody guesses");
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  RunTutti run(two_workers(GetParam(), shell("echo started"), {"exchange=gloo", "secret_file=" + file}));
  EXPECT_EQ(run.wait(kEnd), 64) << run.err();
  EXPECT_THAT(run.err(), HasSubstr(file));
  EXPECT_EQ(run.out(), "");
}

TEST_P(RunTest, AFixedPortThatIsTakenIsNamed) {
  boost::asio::io_context context;
  boost::asio::ip::tcp::acceptor holder(context, {boost::asio::ip::make_address("127.0.0.1"), 0});
  const std::string port = std::to_string(holder.local_endpoint().port());
  RunTutti run(two_workers(GetParam(), shell("echo started"), {"exchange=gloo", "ports=" + port}));
  EXPECT_EQ(run.wait(kEnd), 69);
  EXPECT_THAT(run.err(), HasSubstr(port));
  EXPECT_EQ(run.out(), "");
}

TEST_P(RunTest, AnInterruptEndsItCleanly) {
  RunTutti run(two_workers(GetParam(), shell("trap '' TERM; sleep 1000 & wait; wait")));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  run.signal(SIGINT);
  const int exit_code = run.wait(kEnd).value_or(0);
  EXPECT_TRUE(local() ? exit_code == 128 + SIGINT : exit_code != 0) << exit_code;
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, PreemptionEndsItWithTheCodeThatAsksForARequeue) {
  RunTutti run(two_workers(GetParam(), shell("sleep 1000; true")));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  run.signal(SIGUSR1);  // mpirun hands it on
  EXPECT_EQ(run.wait(kEnd), 75) << run.err();
  EXPECT_EQ(cause_lines(run.err()), Words());
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, NothingIsLeftWhenTheLauncherIsKilled) {
  RunTutti run(two_workers(GetParam(), shell("sleep 1000; true"), {"exchange=ps", "shards=1"}));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  run.signal(SIGKILL);
  EXPECT_EQ(run.wait(kEnd), 128 + SIGKILL);
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, StartsTheRunAgainWhenItsAgentsAreLost) {
  const TemporaryFolder folder;
  const Words program = shell("[ -e " + folder.file("go") + " ] || exec sleep 1000");
  RunTutti run(two_workers(GetParam(), program, {"exchange=gloo", "restarts=2"}));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  const pid_t lost = run.first_child();
  ASSERT_GT(lost, 0);
  std::ofstream(folder.file("go")).flush();
  kill(lost, SIGKILL);
  EXPECT_EQ(run.wait(kEnd), 0) << run.err();
  EXPECT_THAT(run.err(),
              HasSubstr("was killed by signal 9 (Killed)\ntutti: the run ended with code 137; restart 1 of 2 "
                        "in 1 s, from its start\n"));
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, StartsNoRunAgainThatWouldEndTheSameWay) {
  RunTutti run(two_workers(GetParam(), shell("exit 65"), {"exchange=gloo", "restarts=2"}));
  EXPECT_EQ(run.wait(kEnd), 65);
  EXPECT_THAT(run.err(), Not(HasSubstr("restart 1")));
}

TEST_P(RunTest, APreemptionEndsARunThatMayBeStartedAgain) {
  RunTutti run(two_workers(GetParam(), shell("sleep 1000; true"), {"exchange=gloo", "restarts=2"}));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(kEnd), 75) << run.err();
  EXPECT_THAT(run.err(), Not(HasSubstr("restart 1")));
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST_P(RunTest, NothingIsLeftOfARunThatMayBeStartedAgainWhenItsParentIsKilled) {
  RunTutti run(two_workers(GetParam(), shell("sleep 1000; true"), {"exchange=ps", "shards=1", "restarts=2"}));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  run.signal(SIGKILL);
  EXPECT_EQ(run.wait(kEnd), 128 + SIGKILL);
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST(Restarts, AreForLossesOnly) {
  for (const int code : {69, 70, 1, 128 + SIGKILL, 128 + SIGSEGV})
    EXPECT_TRUE(launch::is_worth_a_restart(code)) << code;
  for (const int code : {0, 64, 65, 74, 75, 77, 78, 128 + SIGINT, 128 + SIGTERM})
    EXPECT_FALSE(launch::is_worth_a_restart(code)) << code;
}

/// A task of `srun --mpi=none -n 2`, as its environment shows it.
RunTutti::Options slurm_task(int task, const std::string& shared, const Words& program) {
  RunTutti::Options options;
  options.arguments = {"run", "exchange=gloo", "replacements=0", "--"};
  options.arguments.insert(options.arguments.end(), program.begin(), program.end());
  options.environment = {{"SLURM_JOB_ID", "1"},
                         {"SLURM_STEP_ID", "0"},
                         {"SLURM_PROCID", std::to_string(task)},
                         {"SLURM_NTASKS", "2"},
                         {"TUTTI_LOG_DIR", shared}};
  return options;
}

TEST(SlurmStep, ItsTasksAreTheAgentsOfOneRun) {
  const TemporaryFolder shared;
  RunTutti first(slurm_task(0, shared.path(), steps({"--steps", "20"})));
  RunTutti second(slurm_task(1, shared.path(), steps({"--steps", "20"})));
  EXPECT_EQ(first.wait(kEnd), 0) << first.err();
  EXPECT_EQ(second.wait(kEnd), 0) << second.err();
  EXPECT_EQ(first.out(), "rank 0 of 2 did 20 steps\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(shared.path()), {}), 1) << "the run's folder only";
}

TEST(SlurmStep, AWorkersDeathEndsEveryTaskAndIsToldByTheFirst) {
  const TemporaryFolder shared;
  const Words program = steps({"--steps", "1000000", "--grief", "kill", "--rank", "1", "--at", "5"});
  RunTutti first(slurm_task(0, shared.path(), program));
  RunTutti second(slurm_task(1, shared.path(), program));
  EXPECT_EQ(first.wait(kEnd), 70);
  EXPECT_EQ(second.wait(kEnd), 70);
  EXPECT_THAT(cause_lines(first.err()), ElementsAre(HasSubstr("rank 1 on ")));
  EXPECT_EQ(cause_lines(second.err()), Words());
  EXPECT_EQ(first.leftovers(kGone) + second.leftovers(kGone), "");
}

TEST(SilentWorker, IsNamedThenLost) {
  RunTutti run(two_workers("local", steps({"--steps", "1000000", "--grief", "stop", "--rank", "1", "--at", "37"}),
                           {"exchange=gloo", "timeout_s=2"}));
  EXPECT_EQ(run.wait(kEnd), 69) << run.err();
  EXPECT_THAT(run.err(), ContainsRegex("rank 1 on [^ ]* has not been heard of for [0-9.]+ s .at step 37."));
  EXPECT_THAT(run.err(),
              ContainsRegex("rank 1 on [^ ]* was lost at step 37: it has not been heard of for [0-9.]+ s"));
  EXPECT_EQ(run.leftovers(kGone), "");
}

TEST(SilentAgent, IsNamedThenLost) {
  const TemporaryFolder shared;
  const Words program = steps({"--steps", "100000000"});
  RunTutti::Options task = slurm_task(0, shared.path(), program);
  task.arguments.insert(task.arguments.begin() + 1, "timeout_s=2");
  RunTutti first(task), second(slurm_task(1, shared.path(), program));
  ASSERT_TRUE(second.wait_for_processes(1, bin_folder() + "/tutti_steps", kStart)) << second.err();
  second.signal(SIGSTOP);
  EXPECT_TRUE(first.wait_for_output("was lost", kEnd)) << first.err();
  second.signal(SIGKILL);
  EXPECT_EQ(first.wait(kEnd), 69) << first.err();
  EXPECT_THAT(first.err(), ContainsRegex("agent 1 on [^ ]* has not been heard of for [0-9.]+ s\n"));
  EXPECT_THAT(first.err(), ContainsRegex("agent 1 on [^ ]* was lost: it has not been heard of for [0-9.]+ s"));
  EXPECT_EQ(first.leftovers(kGone) + second.leftovers(kGone), "");
}

#if TUTTI_WITH_MPI
TEST(AgentDeath, OfOneUnderMpirunIsNamedAndLeavesNothing) {
  RunTutti run(two_workers("mpirun", shell("sleep 1000; true")));
  ASSERT_TRUE(run.wait_for_processes(2, "sleep 1000", kStart)) << run.err();
  const auto is_agent_1 = [](const MarkedProcess& process) {
    return has_variable(process.pid, "OMPI_COMM_WORLD_RANK", "1");
  };
  const auto agents = run.processes(bin_folder() + "/tutti run");
  const auto agent = std::find_if(agents.begin(), agents.end(), is_agent_1);
  ASSERT_NE(agent, agents.end());
  kill(agent->pid, SIGKILL);
  EXPECT_NE(run.wait(kEnd).value_or(0), 0);
  EXPECT_THAT(run.err(), HasSubstr("agent 1 on "));
  EXPECT_EQ(run.leftovers(kGone), "");
}
#endif

}  // namespace
}  // namespace tutti::testing
