// SPDX-License-Identifier: Apache-2.0
#include "common/status_line.h"

#include <gmock/gmock.h>
#include <pty.h>
#include <unistd.h>

#include <vector>

#include "common/file.h"

namespace tutti {
namespace {

using ::testing::ElementsAre;

constexpr int kOut = STDOUT_FILENO, kErr = STDERR_FILENO;

/// What was written, each write as "out:..." or "err:...", with an escape character as "^".
class StatusLineTest : public ::testing::Test {
 protected:
  StatusLine line(StatusLine::Options options) {
    options.columns = [this] { return columns_; };
    return {std::move(options), [this](int fd, std::string_view bytes) {
              std::string text(fd == kErr ? "err:" : "out:");
              for (const char byte : bytes) text += byte == '\x1b' ? '^' : byte;
              written_.push_back(text);
            }};
  }
  StatusLine on_terminal() { return line({.out_terminal = true, .err_terminal = true}); }
  std::vector<std::string> written() { return std::exchange(written_, {}); }

  int columns_ = 80;
  std::vector<std::string> written_;
};

TEST_F(StatusLineTest, IsRedrawnInPlaceAndErasedAtItsEnd) {
  StatusLine status = on_terminal();
  status.show("step 1");
  status.show("step 2");
  status.show("");
  status.show("");
  EXPECT_THAT(written(), ElementsAre("out:\r^[Kstep 1", "out:\r^[Kstep 2", "out:\r^[K"));
}

TEST_F(StatusLineTest, OtherLinesStandAboveIt) {
  StatusLine status = on_terminal();
  status.write(kErr, "before\n");
  status.show("step 1");
  status.write(kErr, "a warning\n");
  status.write(kOut, "the program's\n");
  EXPECT_THAT(written(), ElementsAre("err:before\n", "out:\r^[Kstep 1", "err:\r^[Ka warning\n", "out:\r^[Kstep 1",
                                     "out:\r^[Kthe program's\n", "out:\r^[Kstep 1"));
}

TEST_F(StatusLineTest, WaitsForTheEndOfALine) {
  StatusLine status = on_terminal();
  status.show("step 1");
  written();
  status.write(kOut, "accuracy");
  status.show("step 2");
  status.write(kOut, " 0.97\n");
  EXPECT_THAT(written(), ElementsAre("out:\r^[Kaccuracy", "out: 0.97\n", "out:\r^[Kstep 2"));
}

TEST_F(StatusLineTest, IsAPlainLineWhereThereIsNoTerminal) {
  StatusLine status = line({.colours = true});
  status.show("step 1");
  status.write(kErr, "a warning\n");
  status.show("");
  EXPECT_THAT(written(), ElementsAre("out:step 1\n", "err:a warning\n"));
}

TEST_F(StatusLineTest, LeavesAFileOfErrorsAsItIs) {
  StatusLine status = line({.out_terminal = true});
  status.show("step 1");
  status.write(kErr, "a warning\n");
  EXPECT_THAT(written(), ElementsAre("out:\r^[Kstep 1", "err:a warning\n"));
}

TEST_F(StatusLineTest, ErasesWhatAnotherProcessMayHaveDrawn) {
  StatusLine status = line({.out_terminal = true, .err_terminal = true, .shared = true});
  status.write(kErr, "a warning\n");
  EXPECT_THAT(written(), ElementsAre("err:\r^[Ka warning\n"));
}

TEST_F(StatusLineTest, StaysWithinTheTerminalsWidth) {
  StatusLine status = line({.out_terminal = true, .colours = true});
  columns_ = 7;
  status.show("step 100");
  columns_ = 5;
  status.show("λ = 0.5");
  status.show("a\nb\x1b[2J");
  EXPECT_THAT(written(), ElementsAre("out:\r^[K^[36mstep 1^[0m", "out:\r^[K^[36mλ = ^[0m", "out:\r^[K^[36mab[2^[0m"));
}

TEST(Cut, LeavesNothingThatATerminalObeys) {
  EXPECT_EQ(cut("a\x1b[31mb\r\n\t\x7f", 100), "a[31mb");
  EXPECT_EQ(cut("a\xc2\x9b"
                "31mb\xc2\x80\xc2\xa0\xc3\x9f",
                100),
            "a31mb\xc2\xa0\xc3\x9f")
      << "nor what is an escape in one character";
  EXPECT_EQ(cut("\xc2", 100), "\xc2");
}

TEST(WantsColours, UnlessNoColorIsSetToSomething) {
  EXPECT_TRUE(wants_colours({}));
  EXPECT_TRUE(wants_colours({{"NO_COLOR", ""}}));
  EXPECT_FALSE(wants_colours({{"NO_COLOR", "0"}}));
}

TEST(ColumnsOf, AsksTheTerminalThenTheEnvironment) {
  int ends[2];
  winsize size = {};
  size.ws_col = 132;
  ASSERT_EQ(::openpty(&ends[0], &ends[1], nullptr, nullptr, &size), 0);
  const FileDescriptor keyboard(ends[0]), terminal(ends[1]);
  EXPECT_TRUE(is_terminal(terminal.get(), {{"TERM", "xterm"}}));
  EXPECT_FALSE(is_terminal(terminal.get(), {{"TERM", "dumb"}}));
  EXPECT_EQ(columns_of(terminal.get(), {{"COLUMNS", "90"}}), 132);
  EXPECT_EQ(columns_of(-1, {{"COLUMNS", "90"}}), 90);
  EXPECT_EQ(columns_of(-1, {{"COLUMNS", "wide"}}), 80);
}

/// What comes out of the pieces: statuses as "<...>".
std::string parted(const std::vector<std::string>& pieces) {
  StatusMarks marks;
  std::string all;
  const auto on_bytes = [&](const std::string& bytes) { all += bytes; };
  for (const std::string& piece : pieces)
    marks.feed(piece, on_bytes, [&](const std::string& status) { all += "<" + status + ">"; });
  marks.flush(on_bytes);
  return all;
}

TEST(StatusMarks, AreTakenOutOfOtherBytes) {
  EXPECT_EQ(parted({"one\n" + marked_status("step 1") + "tw" + marked_status("") + "o\n"}), "one\n<step 1>tw<>o\n");
}

TEST(StatusMarks, MayBeCutAnywhere) {
  const std::string whole = "one\x1b" + marked_status("step 1") + "\x1b[0m\n";
  for (std::size_t at = 0; at <= whole.size(); ++at)
    EXPECT_EQ(parted({whole.substr(0, at), whole.substr(at)}), "one\x1b<step 1>\x1b[0m\n") << at;
}

TEST(StatusMarks, OneWithoutAnEndIsNotWaitedForForEver) {
  const std::string begun = marked_status("").substr(0, marked_status("").size() - 2);
  const std::string bytes = begun + std::string(10'000, 'x');
  EXPECT_EQ(parted({bytes, "more"}), bytes + "more");
  EXPECT_EQ(parted({"last" + begun}), "last" + begun);
}

TEST(StatusMarks, HoldAnyText) {
  EXPECT_EQ(parted({marked_status("a\x1b\\b")}), "<a\\b>");
}

}  // namespace
}  // namespace tutti
