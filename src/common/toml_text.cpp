// SPDX-License-Identifier: Apache-2.0
#include "common/toml_text.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace tutti {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::array<std::string_view, 4> kTildes = {"u007E", "u007e", "U0000007E", "U0000007e"};

}  // namespace

std::string toml_in_ascii(std::string_view toml) {
  constexpr std::string_view digits = "0123456789abcdef";
  if (toml.starts_with(kByteOrderMark)) toml.remove_prefix(kByteOrderMark.size());
  std::string ascii;
  ascii.reserve(toml.size());
  for (const char c : toml) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && c != '~') {
      ascii += c;
    } else {
      ascii += {'~', digits[byte / 16], digits[byte % 16]};
    }
  }
  return ascii;
}

bool escapes_tilde(std::string_view toml) noexcept {
  for (std::size_t at = toml.find('\\'); at != toml.npos; at = toml.find('\\', at + 2)) {  // it escapes what is next
    const std::string_view after = toml.substr(at + 1);
    const auto begins = [&](std::string_view spelling) { return after.starts_with(spelling); };
    if (std::ranges::any_of(kTildes, begins)) return true;
  }
  return false;
}

std::string from_ascii(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  while (!text.empty()) {
    unsigned char byte = 0;
    if (text[0] == '~' && text.size() > 2) {
      std::from_chars(text.data() + 1, text.data() + 3, byte, 16);
      text.remove_prefix(2);
    } else {
      byte = static_cast<unsigned char>(text[0]);
    }
    bytes += static_cast<char>(byte);
    text.remove_prefix(1);
  }
  return bytes;
}

}  // namespace tutti
