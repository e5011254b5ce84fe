// SPDX-License-Identifier: Apache-2.0
// Pages that state facts about the code state them as the code has them.
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "common/config_keys.h"
#include "common/net/frame.h"

namespace tutti {
namespace {

// Tests run in the repository's root.
std::string read_page(const std::string& name) {
  std::ifstream file("docs/" + name);
  EXPECT_TRUE(file) << "docs/" << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::byte> parse_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  std::istringstream words(text);
  for (std::string word; words >> word;) bytes.push_back(static_cast<std::byte>(std::stoi(word, nullptr, 16)));
  return bytes;
}

std::vector<std::byte> example_frame() {
  std::smatch match;
  const std::string page = read_page("wire_format.md");
  const std::regex hex_block("```\n((?:[0-9a-f]{2}[ \n])+)```");
  return std::regex_search(page, match, hex_block) ? parse_hex(match[1]) : std::vector<std::byte>();
}

TEST(WireFormatPage, ShowsTheFrameThatTheCodeEncodes) {
  const float numbers[] = {1.0F, -2.0F};
  const auto payload = std::as_bytes(std::span(numbers));
  FrameHeader header;
  header.type = FrameType::kPush;
  header.generation = 1;
  header.step = 37;
  header.sender = 2;
  header.chunk = 5;
  header.payload_bytes = payload.size();
  header.crc = checksum(header, {}, payload);

  const FrameHeaderBytes encoded = encode(header);
  std::vector<std::byte> frame(encoded.begin(), encoded.end());
  frame.insert(frame.end(), payload.begin(), payload.end());
  EXPECT_EQ(example_frame(), frame);
}

TEST(ConfigurationPage, NamesEveryKeyWithItsDefault) {
  const std::string page = read_page("configuration.md");
  for (const ConfigKey& key : config_keys()) {
    const std::string row = "| `" + std::string(key.name) + "` | `" + print_config_value(RunConfig(), key) + "` |";
    EXPECT_NE(page.find(row), std::string::npos) << "docs/configuration.md lacks the row " << row;
  }
}

TEST(ConfigurationPage, NamesNoKeyThatIsNotThere) {
  const std::string page = read_page("configuration.md");
  const std::regex row("\\| `([a-z_]+)` \\|");
  for (auto at = std::sregex_iterator(page.begin(), page.end(), row); at != std::sregex_iterator(); ++at) {
    EXPECT_NE(find_config_key((*at)[1].str()), nullptr) << (*at)[1];
  }
}

}  // namespace
}  // namespace tutti
