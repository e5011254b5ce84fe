// SPDX-License-Identifier: Apache-2.0
#include "launch/child_output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include "tests/common/temporary_folder.h"

namespace tutti::launch {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> lines_of(const std::vector<std::string>& pieces) {
  LineSplitter splitter;
  std::vector<std::string> lines;
  const auto keep = [&](const std::string& line) { lines.push_back(line); };
  for (const std::string& piece : pieces) splitter.feed(piece, keep);
  splitter.flush(keep);
  return lines;
}

TEST(LineSplitter, JoinsWhatCameInPieces) {
  EXPECT_THAT(lines_of({"on", "e\ntw", "o"}), ElementsAre("one", "two"));
}

TEST(LineSplitter, TakesAProgressBarsReturnForALineEnd) {
  EXPECT_THAT(lines_of({"10 %\r20 %\r\n"}), ElementsAre("10 %", "20 %"));
}

TEST(LineSplitter, CutsALineWithoutEndWithoutLosingAByte) {
  const std::string endless(200'000, 'x');
  const auto lines = lines_of({endless});
  EXPECT_GT(lines.size(), 2u);
  std::string joined;
  for (const auto& line : lines) joined += line;
  EXPECT_EQ(joined, endless);
}

/// A child's two pipes, with the test at the writing ends.
class ChildOutputTest : public ::testing::Test {
 protected:
  static FileDescriptor pipe_to(FileDescriptor& writer) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    writer = FileDescriptor(ends[1]);
    return FileDescriptor(ends[0]);
  }
  static void write(const FileDescriptor& to, const std::string& text) {
    ASSERT_EQ(::write(to.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  testing::TemporaryFolder folder_;
  boost::asio::io_context context_;
  FileDescriptor out_, err_;
  FileDescriptor out_reader_ = pipe_to(out_), err_reader_ = pipe_to(err_);
};

TEST_F(ChildOutputTest, LogsWholeLinesOfBothStreamsAndKeepsTheLastOfStderr) {
  const std::string log = folder_.file("rank-1.log");
  ChildOutput output(context_, std::move(out_reader_), std::move(err_reader_), open_log(log).value(),
                     /*forward=*/nullptr);
  write(out_, "loss 0.");
  context_.poll();
  write(err_, "warning\nno such file");
  context_.poll();
  write(out_, "5\n");
  output.drain();
  EXPECT_EQ(testing::content_of(log), "warning\nloss 0.5\nno such file\n");
  EXPECT_EQ(output.last_error(), "no such file");
}

TEST_F(ChildOutputTest, DrawsAMarkedStatusAboveWhichLinesStand) {
  std::string seen;
  StatusLine screen({.out_terminal = true, .err_terminal = true, .columns = [] { return 80; }},
                    [&](int, std::string_view bytes) { seen += bytes; });
  const std::string log = folder_.file("rank-0.log");
  ChildOutput output(context_, std::move(out_reader_), std::move(err_reader_), open_log(log).value(), &screen);
  write(out_, marked_status("step 1"));
  context_.poll();
  write(err_, "warning\n");
  context_.poll();
  EXPECT_EQ(seen, "\r\x1b[Kstep 1\r\x1b[Kwarning\n\r\x1b[Kstep 1");
  seen.clear();
  output.drain();
  EXPECT_EQ(seen, "\r\x1b[K") << "a child that has ended has no status";
  EXPECT_EQ(testing::content_of(log), "step 1\nwarning\n");
}

TEST_F(ChildOutputTest, DoesNotWaitForAGrandchildThatHoldsThePipe) {
  ChildOutput output(context_, std::move(out_reader_), std::move(err_reader_), open_log(folder_.file("log")).value(),
                     nullptr);
  write(err_, "last words\n");
  output.drain();  // the writing ends are open
  EXPECT_EQ(output.last_error(), "last words");
  context_.run();  // and nothing is read any more
}

TEST_F(ChildOutputTest, ALogThatCannotBeOpenedIsNamed) {
  const auto log = open_log(folder_.file("absent/rank-0.log"));
  ASSERT_FALSE(log);
  EXPECT_THAT(log.error().text(), ::testing::HasSubstr("absent/rank-0.log"));
}

}  // namespace
}  // namespace tutti::launch
