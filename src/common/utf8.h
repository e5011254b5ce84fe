// SPDX-License-Identifier: Apache-2.0
// What is written as JSON or TOML can be read back only if its texts are UTF-8.
// Thread safety: functions without state.
#pragma once

#include <string_view>

namespace tutti {

/// Whether a character begins there; else the byte goes on with one.
constexpr bool begins_character(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
}

/// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) noexcept;

}  // namespace tutti
