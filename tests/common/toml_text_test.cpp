// SPDX-License-Identifier: Apache-2.0
#include "common/toml_text.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tutti {
namespace {

TEST(TomlText, IsAsciiAndTurnsBackToWhatItWas) {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  for (const std::string& text : {std::string("plain"), std::string("caf\xc3\xa9 ~41"), every_byte}) {
    const std::string ascii = toml_in_ascii(text);
    EXPECT_TRUE(std::ranges::all_of(ascii, [](char c) { return static_cast<unsigned char>(c) < 0x80; })) << text;
    EXPECT_EQ(from_ascii(ascii), text);
  }
  EXPECT_EQ(toml_in_ascii("a = \"~\xff\"\n"), "a = \"~7e~ff\"\n");
}

TEST(TomlText, DropsAByteOrderMarkAtTheBeginning) {
  EXPECT_EQ(toml_in_ascii("\xef\xbb\xbf\xef\xbb\xbf"), "~ef~bb~bf");
}

// "\\u007e" is a backslash and more: once such an argument was printed to a file that was refused.
TEST(TomlText, KnowsEverySpellingOfATildeByItsNumber) {
  for (const char* spelling : {"\\u007e", "\\u007E", "\\U0000007e", "\\U0000007E"})
    EXPECT_TRUE(escapes_tilde(spelling));
  EXPECT_TRUE(escapes_tilde("\\\\\\u007e"));
  for (const char* other : {"~", "\\u007d", "u007e", "\\u07e", "\\\\u007e", "\\"}) EXPECT_FALSE(escapes_tilde(other));
}

}  // namespace
}  // namespace tutti
