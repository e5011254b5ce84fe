// SPDX-License-Identifier: Apache-2.0
#include "common/toml_text.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

TEST(TomlText, LetsCommentsAndStringsSayAnything) {
  for (const char* text : {"", "workers = 4\n", "# größe\nworkers = 4  # größe", "a = \"größe\" # ü\nb = 'größe'\n",
                           "a = \"it's \\\" ü\"\n", "a = '\\' # ü\n",
                           "\xef\xbb\xbf"
                           "a = 1\n",
                           "a = \"\"\"two\nlines\"\"\""}) {
    EXPECT_FALSE(line_of_stray_character(text)) << text;
  }
}

TEST(TomlText, NamesTheLineOfACharacterThatStandsElsewhere) {
  EXPECT_EQ(line_of_stray_character("größe = 1"), 1u);
  EXPECT_EQ(line_of_stray_character("a = 1\nb =  ü"), 2u);
  EXPECT_EQ(line_of_stray_character("a = 'it' ü"), 1u);
  EXPECT_EQ(line_of_stray_character("a = \"cut\nü = 'x'"), 2u) << "a string ends with its line";
  EXPECT_EQ(line_of_stray_character("a = 1\xef\xbb\xbf"), 1u) << "a byte order mark stands first";
}

TEST(TomlText, KnowsWhereAStringOfSeveralLinesEnds) {
  EXPECT_EQ(line_of_stray_character("a = \"\"\"x\n\\\n  ü\"\"\""), 3u) << "white space may stand there";
  EXPECT_EQ(line_of_stray_character("a = \"\"\"x\"\"\" ü"), 1u);
  EXPECT_EQ(line_of_stray_character("a = \"\"\"x\"\"\"\"\" ü"), 1u) << "two quotes belong to the string";
  EXPECT_EQ(line_of_stray_character("a = \"\"\"\\\"\"\"\" ü"), 1u) << "an escaped quote is none";
  EXPECT_EQ(line_of_stray_character("a = \"\"\"\\\\\"\"\" ü"), 1u) << "an escaped backslash escapes nothing";
  EXPECT_EQ(line_of_stray_character("a = '''\\''' ü"), 1u) << "a literal string has no escapes";
  EXPECT_FALSE(line_of_stray_character("a = '''\n# \" '''  # ü"));
}

}  // namespace
}  // namespace tutti
