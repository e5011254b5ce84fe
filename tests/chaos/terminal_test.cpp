// SPDX-License-Identifier: Apache-2.0
// What a user sees of a run at a terminal, which is a pseudo-terminal of script(1).
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>

#include "tests/chaos/chaos_run.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::Each;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kErase = "\r\x1b[K";

std::string quoted(const std::string& word) {
  return "'" + word + "'";  // none has a quote of its own
}

/// The same run at a terminal of 100 columns.
RunTutti::Options at_terminal(RunTutti::Options run, const Environment& environment = {}) {
  std::string line = quoted(run.program.empty() ? bin_folder() + "/tutti" : run.program);
  for (const std::string& argument : run.arguments) line += " " + quoted(argument);
  Environment all = environment;
  all.insert({{"TERM", "xterm"}, {"COLUMNS", "100"}, {"SHELL", "/bin/sh"}, {"TUTTI_PROGRESS_S", "0"}});
  all.merge(run.environment);
  return {.arguments = {"--quiet", "--return", "--flush", "--command", line, "/dev/null"},
          .environment = all,
          .program = "/usr/bin/script"};
}

/// The lines that stand on the terminal once all of this was written to it.
Strings screen(const std::string& bytes) {
  Strings lines(1);
  std::size_t column = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if (bytes[at] == '\r') {
      column = 0;
    } else if (bytes[at] == '\n') {
      lines.emplace_back();
    } else if (bytes[at] == '\x1b') {
      at = bytes.find_first_of("Km", at);  // the only two that are written
      if (at == std::string::npos) break;
      if (bytes[at] == 'K') lines.back().resize(column);
    } else {
      lines.back().resize(std::max(lines.back().size(), column + 1), ' ');
      lines.back()[column++] = bytes[at];
    }
  }
  return lines;
}

TEST(Terminal, StatusIsRedrawnBelowTheNoticeOfALoss) {
  for (const char* launcher : {"local", "mpirun"}) {
    const TemporaryFolder marks;
    ChaosOptions options;
    options.workers = 2;
    options.steps = 50;
    options.launcher = launcher;
    options.faults = {"1:24:forward:9"};
    RunTutti run(at_terminal(chaos_run(options, marks.path())));
    ASSERT_EQ(run.wait(kPatience), 0) << run.out() << run.err();
    const std::string out = run.out();
    for (const char* step : {"step 20/50", "step 30/50"})
      EXPECT_THAT(out, HasSubstr(std::string(kErase) + "\x1b[36mepoch 1/1  " + step)) << launcher;

    const Strings lines = screen(out);
    EXPECT_THAT(lines, Contains(HasSubstr("  step ")).Times(1)) << out << "\nof all statuses one stays";
    EXPECT_THAT(lines, Contains(StartsWith("epoch 1/1  step 50/50  "))) << out;
    EXPECT_THAT(lines, Contains(AllOf(StartsWith("tutti: rank 1 on "), HasSubstr("was killed by signal 9 (Killed)"),
                                      EndsWith(kReplaced))))
        << out;
    EXPECT_THAT(lines, Contains(StartsWith("summary: 50 steps in "))) << out;
    EXPECT_THAT(lines, Contains(MatchesRegex("  time: [0-9]+ % .*"))) << out;
    EXPECT_THAT(lines, Contains("  faults: 1 process replaced")) << out;
    EXPECT_THAT(lines, Contains(MatchesRegex("hash=[0-9a-f]+ steps=50 ranks=2 exchange=shm"))) << out;
  }
}

TEST(Terminal, AProcessAloneDrawsByItselfAndAStopIsToldAboveItsLine) {
  RunTutti run(at_terminal({.arguments = {"--steps", "50", "--hold-ms", "50"},
                            .environment = one_thread(),
                            .program = bin_folder() + "/test_chaos"},
                           {{"NO_COLOR", "1"}}));
  ASSERT_TRUE(run.wait_for_output("step 3/50", kPatience)) << run.out() << run.err();
  const auto programs = run.processes(bin_folder() + "/test_chaos");
  ASSERT_EQ(programs.size(), 1u);
  ::kill(programs.front().pid, SIGTERM);
  EXPECT_EQ(run.wait(kPatience), 75);
  const std::string out = run.out();
  EXPECT_THAT(out, HasSubstr(std::string(kErase) + "epoch 1/1  step 3/50")) << "without colours";
  EXPECT_THAT(out, Not(HasSubstr("\x1b[36m")));

  const Strings lines = screen(out);
  EXPECT_THAT(lines, Each(Not(HasSubstr("  step ")))) << out;
  EXPECT_THAT(lines, Contains(ContainsRegex("^[0-9:.]+ WARNING tutti: .*asked to stop: step "))) << out;
  EXPECT_THAT(lines, Contains(ContainsRegex("^summary: [0-9]+ steps in "))) << out;
}

TEST(Terminal, PipeGetsPlainLines) {
  ChaosOptions options;
  options.workers = 2;
  options.steps = 50;
  options.configuration = {"progress_s=0"};
  RunTutti run(chaos_run(options, ""));
  ASSERT_EQ(run.wait(kPatience), 0) << run.err();
  EXPECT_THAT(run.out(), ContainsRegex("\nepoch 1/1  step 30/50  [0-9]+ samples/s  exposed [0-9]+ %  [0-9]+ s left\n"));
  EXPECT_THAT(run.out(), HasSubstr("\nsummary: 50 steps in "));
  EXPECT_THAT(run.out() + run.err(), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace tutti::testing
