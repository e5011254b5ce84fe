// SPDX-License-Identifier: Apache-2.0
#include "common/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace tutti {
namespace {

TEST(Utf8, TakesTheFirstAndTheLastCharacterOfEachLength) {
  using namespace std::string_literals;
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8(
      "\0\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"s));
}

TEST(Utf8, RefusesWhatIsCutOrAlone) {
  for (const char* text :
       {"\x80", "\xbf", "a\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3(", "\xe2(\xac", "\xe2\x82(", "\xf0\x9f\x98("}) {
    EXPECT_FALSE(is_utf8(text)) << text;
  }
}

TEST(Utf8, RefusesOverlongFormsSurrogatesAndWhatIsTooLarge) {
  for (const char* text : {"\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
                           "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_FALSE(is_utf8(text)) << text;
  }
}

}  // namespace
}  // namespace tutti
