// SPDX-License-Identifier: Apache-2.0
// Values of keys: put into their fields, and printed from them as TOML.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <optional>

#include "common/config_keys.h"
#include "common/utf8.h"

namespace tutti {
namespace {

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

struct Printer {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(const std::string& value) const { return in_quotes(value); }
  std::string operator()(const std::vector<std::string>& values) const {
    std::vector<std::string> items;
    for (const std::string& value : values) items.push_back(in_quotes(value));
    return fmt::format("[{}]", fmt::join(items, ", "));
  }
  template <class Number>
  std::string operator()(Number value) const {
    return fmt::format("{}", value);
  }
};

struct FieldPrinter {
  const RunConfig& config;
  std::string operator()(ConfigKey::Workers) const {
    const WorkerRange& range = config.worker_range;
    if (range.is_fixed()) return Printer{}(config.workers);
    return in_quotes(fmt::format("{}:{}", range.least, range.most));
  }
  template <class Field>
  std::string operator()(Field field) const {
    return Printer{}(config.*field);
  }
};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) pieces.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return pieces;
}

// What is told when a value is of the wrong type or out of range.
struct Expectation {
  const ConfigKey& key;
  std::string number(std::string_view kind) const {
    if (std::isinf(key.most)) return fmt::format("expected {} from {} up", kind, key.least);
    return fmt::format("expected {} from {} to {:.0f}", kind, key.least, key.most);
  }
  std::string operator()(bool RunConfig::*) const { return "expected true or false"; }
  std::string operator()(int RunConfig::*) const { return number("a whole number"); }
  std::string operator()(std::uint64_t RunConfig::*) const { return number("a whole number"); }
  std::string operator()(ConfigKey::Workers) const {
    return number("a whole number") + ", or two of them such as \"2:8\"";
  }
  std::string operator()(double RunConfig::*) const { return number("a number"); }
  std::string operator()(std::string RunConfig::*) const { return "expected a string"; }
  std::string operator()(std::vector<std::string> RunConfig::*) const { return "expected a list of strings"; }
};

/// "2:8"; nothing where `text` is something else.
std::optional<WorkerRange> parse_range(std::string_view text) {
  WorkerRange range;
  const char* const end = text.data() + text.size();
  const auto [colon, first] = std::from_chars(text.data(), end, range.least);
  if (first != std::errc{} || colon == end || *colon != ':') return std::nullopt;
  const auto [last, second] = std::from_chars(colon + 1, end, range.most);
  if (second != std::errc{} || last != end || range.least < 1 || range.most < range.least) return std::nullopt;
  return range;
}

// One call for each pair of a field and a value that go together; the template takes the pairs that do not.
struct Setter {
  RunConfig& config;
  const ConfigKey& key;

  std::string operator()(bool RunConfig::*field, bool value) const {
    config.*field = value;
    return "";
  }
  std::string operator()(int RunConfig::*field, std::int64_t value) const { return set_number(field, value); }
  std::string operator()(std::uint64_t RunConfig::*field, std::int64_t value) const { return set_number(field, value); }
  std::string operator()(ConfigKey::Workers, std::int64_t value) const {
    if (std::string problem = set_number(&RunConfig::workers, value); !problem.empty()) return problem;
    config.worker_range = {};
    return "";
  }
  std::string operator()(ConfigKey::Workers, const std::string& value) const {
    const auto range = parse_range(value);
    if (!range || range->most > key.most) return wrong(value);
    config.worker_range = *range;
    config.workers = 0;
    return "";
  }
  std::string operator()(double RunConfig::*field, std::int64_t value) const { return set_number(field, value); }
  std::string operator()(double RunConfig::*field, double value) const { return set_number(field, value); }
  std::string operator()(std::string RunConfig::*field, const std::string& value) const {
    if (std::string problem = refused(value); !problem.empty()) return problem;
    config.*field = value;
    return "";
  }
  std::string operator()(std::vector<std::string> RunConfig::*field, const std::string& value) const {
    return (*this)(field, split(value, key.separator));
  }
  std::string operator()(std::vector<std::string> RunConfig::*field, const std::vector<std::string>& values) const {
    for (const std::string& value : values) {
      if (std::string problem = refused(value); !problem.empty()) return problem;
    }
    config.*field = values;
    return "";
  }
  template <class Field, class Value>
  std::string operator()(Field, const Value& value) const {
    return wrong(value);
  }

 private:
  template <class Field, class Value>
  std::string set_number(Field RunConfig::*field, Value value) const {
    const auto number = static_cast<double>(value);
    if (!(key.least <= number && number <= key.most)) return wrong(value);  // so that a NaN is refused, too
    config.*field = static_cast<Field>(value);
    return "";
  }
  std::string refused(const std::string& value) const {
    if (!is_utf8(value)) return "expected text in UTF-8";  // TOML has no other, and the run saves what it used
    std::string problem = key.check == nullptr ? "" : key.check(value);
    return problem.empty() ? problem : problem + ", found " + in_quotes(value);
  }
  template <class Value>
  std::string wrong(const Value& value) const {
    return std::visit(Expectation{key}, key.field) + ", found " + Printer{}(value);
  }
};

}  // namespace

std::string set_config_value(RunConfig& config, const ConfigKey& key, const ConfigValue& value) {
  return std::visit(Setter{config, key}, key.field, value);
}

std::string print_config_value(const RunConfig& config, const ConfigKey& key) {
  return std::visit(FieldPrinter{config}, key.field);
}

}  // namespace tutti
