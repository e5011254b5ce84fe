// SPDX-License-Identifier: Apache-2.0
#include "common/config.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>

#include "common/config_keys.h"

namespace tutti {
namespace {

constexpr std::string_view kHostStage = "shm+";

// A port number that is all of `text`; 0 when it is none.
std::uint16_t parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() ? port : 0;
}

}  // namespace

Result<PortRange> parse_ports(std::string_view text) {
  if (text == "0") return PortRange{};
  const std::size_t dash = std::min(text.find('-'), text.size());
  const std::uint16_t first = parse_port(text.substr(0, dash));
  const std::uint16_t last = dash == text.size() ? first : parse_port(text.substr(dash + 1));
  if (first == 0 || last < first) return fail(Errc::kConfig, "expected 0, a port or a range such as 5000-5100");
  return PortRange{first, last};
}

Environment environment_snapshot() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

bool has_host_stage(std::string_view exchange) noexcept {
  return exchange.starts_with(kHostStage);
}

std::string_view between_hosts(std::string_view exchange) noexcept {
  if (has_host_stage(exchange)) exchange.remove_prefix(kHostStage.size());
  return exchange;
}

std::string to_toml(const RunConfig& config) {
  std::string text;
  for (const ConfigKey& key : config_keys())
    text += fmt::format("{} = {}\n", key.name, print_config_value(config, key));
  return text;
}

std::string config_help() {
  const RunConfig defaults;
  std::string text;
  for (const ConfigKey& key : config_keys()) {
    text += fmt::format("{:<19} {:<10} {}\n", key.name, print_config_value(defaults, key), key.meaning);
  }
  return text;
}

}  // namespace tutti
