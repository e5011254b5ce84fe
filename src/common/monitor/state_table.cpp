// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/state_table.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <ctime>
#include <optional>
#include <vector>

#include "common/status_line.h"

namespace tutti::monitor {
namespace {

namespace json = boost::json;

// What another version left out, or a number that is none, is not there.
std::optional<double> number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  constexpr double kMost = 1e15;  // a time far beyond has no date
  return std::clamp(value->to_number<double>(), -kMost, kMost);
}

std::string text(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

bool flag(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->as_bool();
}

std::string seconds(std::optional<double> time) {
  if (!time) return "-";
  if (*time == 0) return "0 s";
  if (*time < 0.001) return fmt::format("{:.0f} us", *time * 1e6);
  if (*time < 1) return fmt::format("{:.3g} ms", *time * 1e3);
  if (*time < 100) return fmt::format("{:.1f} s", *time);
  const auto whole = static_cast<long long>(*time);
  return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string bytes(std::optional<double> size) {
  if (!size || *size == 0) return "-";
  return *size < 1e9 ? fmt::format("{:.0f} MB", *size / 1e6) : fmt::format("{:.1f} GB", *size / 1e9);
}

std::string count(const json::object& object, std::string_view key) {
  const auto value = number(object, key);
  return value ? fmt::format("{:.0f}", *value) : "-";
}

std::string name_of(const json::object& member) {
  const std::string role = text(member, "role");
  const char* word = role == "server" ? "shard" : role == "agent" ? "agent" : "rank";
  return fmt::format("{} {}", word, count(member, "rank"));
}

std::vector<std::string> head_of(const json::object& state) {
  const json::object& progress = state.at("progress").as_object();
  const auto started = number(state, "started_s"), now = number(state, "now_s");
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{}  {}  exchange {}  generation {}  up {}", text(state, "job"), text(state, "phase"),
                              text(state, "exchange"), count(state, "generation"),
                              started && now ? seconds(*now - *started) : "-"));
  if (!text(state, "cause").empty()) lines.push_back(text(state, "cause"));
  std::string line;
  if (const auto epoch = number(progress, "epoch"))
    line += fmt::format("epoch {:.0f}/{}  ", *epoch, count(progress, "epochs"));
  line += "step " + count(progress, "step");
  if (const auto steps = number(progress, "steps")) line += fmt::format("/{:.0f}", *steps);
  if (const json::value* values = state.if_contains("values"); values != nullptr && values->is_object()) {
    for (const auto& [name, value] : values->as_object()) {
      if (value.is_number()) line += fmt::format("  {} {:.4g}", std::string_view(name), value.to_number<double>());
    }
  }
  if (const auto rate = number(progress, "samples_per_s")) line += fmt::format("  {:.0f} samples/s", *rate);
  if (const auto exposed = number(progress, "exposed")) line += fmt::format("  exposed {:.0f} %", 100 * *exposed);
  if (const auto left = number(progress, "left_s")) line += "  " + seconds(left) + " left";
  lines.push_back(std::move(line));
  return lines;
}

std::vector<std::string> cells_of(const json::object& member, bool has_gpu) {
  const bool is_worker = text(member, "role") == "worker";
  std::string state = flag(member, "alive") ? text(member, "activity") : "gone";
  if (state.empty()) state = "up";
  const auto only_worker = [&](std::string cell) { return is_worker ? std::move(cell) : std::string("-"); };
  std::vector<std::string> cells = {name_of(member),
                                    text(member, "host"),
                                    state,
                                    only_worker(count(member, "step")),
                                    only_worker(seconds(number(member, "step_s"))),
                                    only_worker(seconds(number(member, "waited_s"))),
                                    only_worker(seconds(number(member, "caused_wait_s"))),
                                    bytes(number(member, "memory_bytes")),
                                    seconds(number(member, "cpu_s"))};
  if (has_gpu) cells.push_back(bytes(number(member, "gpu_memory_bytes")));
  cells.push_back(seconds(number(member, "heard_s")));
  return cells;
}

void add_table(std::vector<std::string>& lines, const json::array& members) {
  const bool has_gpu = std::ranges::any_of(members, [](const json::value& member) {
    return member.is_object() && number(member.as_object(), "gpu_memory_bytes");
  });
  std::vector<std::vector<std::string>> rows = {
      {"process", "host", "state", "step", "step time", "waited", "others waited", "memory", "cpu"}};
  if (has_gpu) rows.front().push_back("gpu memory");
  rows.front().push_back("heard");
  for (const json::value& member : members) {
    if (member.is_object()) rows.push_back(cells_of(member.as_object(), has_gpu));
  }
  constexpr std::size_t kWords = 3;  // the first columns are words, on the left
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += i < kWords ? fmt::format("{:<{}}", row[i], widths[i]) : fmt::format("{:>{}}", row[i], widths[i]);
    }
    lines.push_back(std::move(line));
  }
}

void add_history(std::vector<std::string>& lines, const json::array& history, std::size_t events) {
  const std::size_t first = history.size() - std::min(history.size(), events);
  for (std::size_t i = first; i < history.size(); ++i) {
    if (!history[i].is_object()) continue;
    const json::object& event = history[i].as_object();
    const auto time = static_cast<std::time_t>(number(event, "time_s").value_or(0));
    lines.push_back(
        fmt::format("{:%H:%M:%S}  {:<10}  {}", fmt::localtime(time), text(event, "kind"), text(event, "text")));
  }
}

}  // namespace

std::string state_table(const json::object& state, std::size_t events, int columns) {
  std::vector<std::string> lines = head_of(state);
  lines.emplace_back();
  add_table(lines, state.at("members").as_array());
  lines.emplace_back();
  add_history(lines, state.at("history").as_array(), events);
  std::string table;
  for (const std::string& line : lines) table += cut(line, columns) + "\n";
  return table;
}

}  // namespace tutti::monitor
