// SPDX-License-Identifier: Apache-2.0
// The table of keys behind config.h: what each is called, where its value lives, what it means and what it allows.
// Thread safety: constants and functions without state.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/config.h"

namespace tutti {

/// Says what was expected; empty: `value` is allowed.
using ConfigCheck = std::string (*)(std::string_view value);

struct ConfigKey {
  /// The key of two fields: a number of workers, or a range of them.
  struct Workers {};
  using Field = std::variant<bool RunConfig::*, int RunConfig::*, std::uint64_t RunConfig::*, double RunConfig::*,
                             std::string RunConfig::*, std::vector<std::string> RunConfig::*, Workers>;
  std::string_view name;
  std::string_view meaning;
  Field field;
  double least = 0;             ///< numbers
  double most = 0;              ///< numbers
  ConfigCheck check = nullptr;  ///< strings, and each string of a list
  char separator = ' ';         ///< lists that are written as one string
};

std::span<const ConfigKey> config_keys();
/// Null when there is none of that name.
const ConfigKey* find_config_key(std::string_view name);

/// A value as a file, a variable or an argument gives it.
using ConfigValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;
/// `text` as the key's type wants it; text that is not of that type stays a string, which set_config_value() then
/// refuses.
ConfigValue parse_config_value(const ConfigKey& key, std::string_view text);
/// Puts `value` into its field. Returns what was expected and found; empty: done.
std::string set_config_value(RunConfig& config, const ConfigKey& key, const ConfigValue& value);
/// The key's value as TOML writes it.
std::string print_config_value(const RunConfig& config, const ConfigKey& key);

}  // namespace tutti
