// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "common/net/connection.h"

namespace tutti {

Result<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon != std::string_view::npos && colon > 0) {
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error == std::errc() && end == digits.data() + digits.size() && port != 0) {
      return Endpoint{std::string(text.substr(0, colon)), port};
    }
  }
  return fail(Errc::kConfig, "expected host:port with a port from 1 to 65535, found '" + std::string(text) + "'");
}

}  // namespace tutti
