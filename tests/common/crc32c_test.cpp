// SPDX-License-Identifier: Apache-2.0
#include "common/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/support/bytes.h"

namespace tutti {
namespace {

std::string ascending() {
  std::string text;
  for (int i = 0; i < 32; ++i) text += static_cast<char>(i);
  return text;
}

// RFC 3720, appendix B.4.
TEST(Crc32c, EqualsThePublishedVectors) {
  for (const auto way : {crc32c_detail::by_table, crc32c_detail::by_instruction}) {
    if (way == crc32c_detail::by_instruction && !crc32c_detail::has_instruction()) continue;
    EXPECT_EQ(way({}, 0), 0u);
    EXPECT_EQ(way(bytes_of("123456789"), 0), 0xE3069283u);
    EXPECT_EQ(way(bytes_of(std::string(32, '\0')), 0), 0x8A9136AAu);
    EXPECT_EQ(way(bytes_of(std::string(32, '\xff')), 0), 0x62A8AB43u);
    EXPECT_EQ(way(bytes_of(ascending()), 0), 0x46DD794Eu);
  }
}

std::vector<std::byte> random_bytes(std::size_t size) {
  std::mt19937 generator(1);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator());
  return bytes;
}

TEST(Crc32c, GivesTheSameByTableAndByInstruction) {
  if (!crc32c_detail::has_instruction()) GTEST_SKIP() << "this processor has no CRC32C instruction";
  const std::vector<std::byte> bytes = random_bytes(200'000);
  for (const std::size_t size : {1, 7, 8, 9, 1000, 24575, 24576, 24577, 49152, 100'003, 199'990}) {
    for (const std::size_t offset : {0, 1, 5}) {
      const auto part = std::span(bytes).subspan(offset, size);
      EXPECT_EQ(crc32c_detail::by_table(part, 7), crc32c_detail::by_instruction(part, 7)) << size << " at " << offset;
    }
  }
}

TEST(Crc32c, ContinuesFromTheChecksumOfWhatCameBefore) {
  const std::vector<std::byte> bytes = random_bytes(60'000);
  const auto whole = std::span(bytes);
  for (const std::size_t cut : {0, 1, 13, 24576, 30'001, 60'000}) {
    EXPECT_EQ(crc32c(whole.subspan(cut), crc32c(whole.first(cut))), crc32c(whole)) << cut;
  }
}

TEST(Crc32c, JoinsTheChecksumsOfTwoParts) {
  const std::vector<std::byte> bytes = random_bytes(60'000);
  const auto whole = std::span(bytes);
  for (const std::size_t cut : {0, 1, 13, 24576, 30'001, 59'999, 60'000}) {
    const auto second = whole.subspan(cut);
    EXPECT_EQ(crc32c_join(crc32c(whole.first(cut)), crc32c(second), second.size()), crc32c(whole)) << cut;
  }
}

}  // namespace
}  // namespace tutti
