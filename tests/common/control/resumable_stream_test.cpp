// SPDX-License-Identifier: Apache-2.0
#include "common/control/resumable_stream.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace tutti::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

void send(ResumableStream& stream, const std::string& text) {
  FrameHeader header;
  header.type = FrameType::kContribute;
  stream.sent(header, text);
}

std::vector<std::string> resumed(ResumableStream& stream, std::uint64_t from) {
  std::vector<std::string> texts;
  for (const auto& frame : stream.resume(from)) texts.push_back(frame.control);
  return texts;
}

TEST(ResumableStream, GoesOnWithWhatTheOtherEndHasNotHandled) {
  ResumableStream stream;
  for (const char* text : {"a", "b", "c"}) send(stream, text);
  EXPECT_TRUE(stream.reaches(1));
  EXPECT_THAT(resumed(stream, 1), ElementsAre("b", "c"));
  send(stream, "d");
  EXPECT_THAT(resumed(stream, 3), ElementsAre("d")) << "of the frames that were sent again one was handled";
  EXPECT_THAT(resumed(stream, 4), IsEmpty());
}

TEST(ResumableStream, CannotGoOnFromWhereNothingIsKeptOrWasSent) {
  ResumableStream stream;
  for (const char* text : {"a", "b", "c"}) send(stream, text);
  EXPECT_FALSE(stream.reaches(4));
  stream.acknowledged(3);
  EXPECT_FALSE(stream.reaches(1));
  EXPECT_THAT(resumed(stream, 2), ElementsAre("c"));
}

TEST(ResumableStream, AcknowledgementsCountFromTheConnectionThatThereIs) {
  ResumableStream stream;
  for (const char* text : {"a", "b", "c"}) send(stream, text);
  EXPECT_THAT(resumed(stream, 2), ElementsAre("c"));
  stream.acknowledged(0);
  stream.acknowledged(1);  // the join
  EXPECT_TRUE(stream.reaches(2));
  stream.acknowledged(2);
  EXPECT_FALSE(stream.reaches(2));
  EXPECT_TRUE(stream.reaches(3));
  stream.acknowledged(100);  // the other end cannot have handled what was not sent
  EXPECT_TRUE(stream.reaches(3));
}

TEST(ResumableStream, KeepsNoMoreThanItsBound) {
  ResumableStream stream;
  const std::string text(1 << 20, 'x');
  const std::size_t many = ResumableStream::kKeptBytesMax / text.size() + 10;
  for (std::size_t i = 0; i < many; ++i) send(stream, text);
  EXPECT_FALSE(stream.reaches(0));
  EXPECT_TRUE(stream.reaches(many));
  EXPECT_LE(stream.resume(many - ResumableStream::kKeptBytesMax / text.size() + 1).size() * text.size(),
            ResumableStream::kKeptBytesMax);
}

}  // namespace
}  // namespace tutti::testing
