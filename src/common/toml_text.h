// SPDX-License-Identifier: Apache-2.0
// A TOML file in ASCII only, for toml++. Its version 3.3 takes many other characters for impossible where it looks for
// white space, and then its behaviour is undefined ("größe = 1" is enough). So each byte beyond ASCII is written as ~xx
// before it parses, and so is ~ itself; what it makes of strings and keys is turned back.
// Thread safety: functions without state.
#pragma once

#include <string>
#include <string_view>

namespace tutti {

/// The text without its byte order mark, and with ~xx (two hexadecimal digits) for the bytes beyond ASCII and for ~.
std::string toml_in_ascii(std::string_view toml);
/// Whether some string may spell a ~ by its number, which would be taken for one of ours.
bool escapes_tilde(std::string_view toml) noexcept;
/// A string or key that was read from toml_in_ascii() as it stood in the file.
std::string from_ascii(std::string_view text);

}  // namespace tutti
