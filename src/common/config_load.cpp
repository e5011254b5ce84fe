// SPDX-License-Identifier: Apache-2.0
// Reads a configuration from its three sources, each of which overrides the one before it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "common/config_keys.h"
#include "common/file.h"
#include "common/toml_text.h"

// A malformed file can break what toml++ 3.3 asserts ("[(" is enough), or assumes with NDEBUG. The code after that
// reports it.
#undef NDEBUG
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>

namespace tutti {
namespace {

constexpr std::size_t kConfigFileBytesMax = 1 << 20;
constexpr std::string_view kPrefix = "TUTTI_";
constexpr std::array<std::string_view, 4> kReserved = {"TUTTI_FD", "TUTTI_STATUS_FD", "TUTTI_CONFIG", "TUTTI_TTY"};

std::string variable_of(const ConfigKey& key) {
  std::string name(kPrefix);
  for (const char c : key.name) name += 'a' <= c && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name;
}

Failure unknown(const std::string& where, std::string_view what, std::string_view name,
                const std::vector<std::string>& known) {
  const std::string meant = nearest(name, known);
  const std::string hint =
      meant.empty() ? fmt::format("known are {}", fmt::join(known, ", ")) : fmt::format("did you mean '{}'?", meant);
  return fail(Errc::kConfig, fmt::format("{}: unknown {} '{}'; {}", where, what, name, hint));
}

Failure unknown_key(const std::string& where, std::string_view name) {
  std::vector<std::string> known;
  for (const ConfigKey& key : config_keys()) known.emplace_back(key.name);
  return unknown(where, "key", name, known);
}

Result<> set(RunConfig& config, const std::string& where, const ConfigKey& key, const ConfigValue& value) {
  const std::string problem = set_config_value(config, key, value);
  if (problem.empty()) return {};
  return fail(Errc::kConfig, fmt::format("{}: {}: {}", where, key.name, problem));
}

// Nothing when the node is of a kind that no key takes: a table, a date, a list of other things than strings.
std::optional<ConfigValue> value_of(const toml::node& node) {
  if (const auto* flag = node.as_boolean()) return flag->get();
  if (const auto* whole = node.as_integer()) return whole->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* text = node.as_string()) return from_ascii(text->get());
  if (!node.is_array()) return std::nullopt;
  std::vector<std::string> items;
  for (const toml::node& item : *node.as_array()) {
    if (!item.is_string()) return std::nullopt;
    items.push_back(from_ascii(item.as_string()->get()));
  }
  return items;
}

Result<> read_table(RunConfig& config, const std::string& file, const toml::table& table) {
  for (const auto& [name, node] : table) {
    const ConfigKey* key = find_config_key(name.str());
    if (key == nullptr)
      return unknown_key(fmt::format("{}:{}", file, name.source().begin.line), from_ascii(name.str()));
    const std::string where = fmt::format("{}:{}", file, node.source().begin.line);
    const auto value = value_of(node);
    if (!value) {
      const char* found = node.is_table() ? "a table" : node.is_array() ? "a list of other things" : "a date or time";
      return fail(Errc::kConfig,
                  fmt::format("{}: {}: expected a value or a list of strings, found {}", where, key->name, found));
    }
    TUTTI_TRY(set(config, where, *key, *value));
  }
  return {};
}

Result<> read_toml(RunConfig& config, const std::string& file) {
  auto content = read_file(file, kConfigFileBytesMax);
  if (!content) {
    Failure failure = std::move(content).error();
    failure.code = Errc::kConfig;
    return std::move(failure).wrap("the configuration file cannot be used");
  }
  if (escapes_tilde(*content)) return fail(Errc::kConfig, file + ": expected ~ as it is, found it by its number");
  try {
    return read_table(config, file, toml::parse(toml_in_ascii(*content), file));
  } catch (const toml::parse_error& error) {
    return fail(Errc::kConfig,
                fmt::format("{}:{}: {}", file, error.source().begin.line, from_ascii(error.description())));
  }
}

Result<> read_environment(RunConfig& config, const Environment& environment) {
  std::vector<std::string> known;
  for (const ConfigKey& key : config_keys()) known.push_back(variable_of(key));
  for (auto entry = environment.lower_bound(kPrefix); entry != environment.end(); ++entry) {
    const auto& [name, text] = *entry;
    if (!name.starts_with(kPrefix)) break;
    if (std::ranges::count(kReserved, name) != 0) continue;
    const auto found = std::ranges::find(known, name);
    if (found == known.end()) return unknown("the environment", "variable", name, known);
    const ConfigKey& key = config_keys()[static_cast<std::size_t>(found - known.begin())];
    TUTTI_TRY(set(config, "the environment variable " + name, key, parse_config_value(key, text)));
  }
  return {};
}

Result<> read_override(RunConfig& config, const std::string& argument) {
  const std::string where = "the argument '" + argument + "'";
  const std::size_t equals = argument.find('=');
  if (equals == std::string::npos) return fail(Errc::kConfig, where + ": expected key=value");
  const std::string name = argument.substr(0, equals);
  const ConfigKey* key = find_config_key(name);
  if (key == nullptr) return unknown_key(where, name);
  return set(config, where, *key, parse_config_value(*key, argument.substr(equals + 1)));
}

}  // namespace

Result<RunConfig> load_config(const std::string& file, const Environment& environment,
                              const std::vector<std::string>& overrides) {
  RunConfig config;
  if (!file.empty()) TUTTI_TRY(read_toml(config, file));
  TUTTI_TRY(read_environment(config, environment));
  for (const std::string& argument : overrides) TUTTI_TRY(read_override(config, argument));
  return config;
}

}  // namespace tutti
