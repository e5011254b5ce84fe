// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/history.h"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <utility>

#include "common/monitor/monitor.h"

namespace tutti::monitor {
namespace {

namespace json = boost::json;

/// What only later lines add to.
struct Gathered {
  json::object curves;
  json::array history;
  json::value configuration;

  // A state's own curves and lines are only those that are new.
  void take(json::object& state) {
    for (auto& [name, points] : state["curves"].as_object()) {
      json::value& curve = curves[name];
      if (!curve.is_array()) curve.emplace_array();
      for (json::value& point : points.as_array()) curve.as_array().push_back(std::move(point));
    }
    for (json::value& line : state["history"].as_array()) history.push_back(std::move(line));
    if (state.contains("config")) configuration = std::move(state["config"]);
  }
};

bool is_state(const json::object& state) {
  const auto is = [&](const char* key, json::kind kind) {
    const json::value* value = state.if_contains(key);
    return value != nullptr && value->kind() == kind;
  };
  const bool has_parts = is("job", json::kind::string) && is("phase", json::kind::string) &&
                         is("members", json::kind::array) && is("curves", json::kind::object) &&
                         is("history", json::kind::array) && is("progress", json::kind::object);
  return has_parts &&
         std::ranges::all_of(state.at("members").as_array(), [](const auto& member) { return member.is_object(); }) &&
         std::ranges::all_of(state.at("curves").as_object(),
                             [](const auto& curve) { return curve.value().is_array(); });
}

}  // namespace

Result<json::object> parse_state(const std::string& text, const std::string& source) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object() || !is_state(value.as_object()))
    return fail(Errc::kBadData, source + " is not the state of a run" + (error ? ": " + error.message() : ""));
  return std::move(value.as_object());
}

Result<json::object> read_history(const std::string& folder) {
  const std::string path = folder + "/" + kHistoryFile;
  std::ifstream file(path);
  if (!file) return fail(Errc::kBadData, "there is no " + path + ": expected the folder of a run that was watched");
  Gathered gathered;
  Result<json::object> last = fail(Errc::kBadData, path + " is empty");
  std::size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    auto state = parse_state(line, path + ":" + std::to_string(++number));
    if (!state && file.eof() && last) break;  // torn
    if (!state) return std::move(state).error();
    gathered.take(*state);
    last = std::move(*state);
  }
  if (!last) return last;
  (*last)["curves"] = std::move(gathered.curves);
  (*last)["history"] = std::move(gathered.history);
  (*last)["config"] = std::move(gathered.configuration);
  return last;
}

}  // namespace tutti::monitor
