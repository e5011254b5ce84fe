// SPDX-License-Identifier: Apache-2.0
// What is looked at in a TOML file before toml++ parses it. Its version 3.3 takes many characters beyond ASCII for
// impossible where white space may stand, and then its behaviour is undefined ("größe = 1" is enough). TOML has no use
// for such characters outside of comments and strings.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace tutti {

/// The line, counted from 1, of the first character beyond ASCII that stands neither in a comment nor in a string of
/// one line; a byte order mark at the beginning may stay.
std::optional<std::size_t> line_of_stray_character(std::string_view toml) noexcept;

}  // namespace tutti
