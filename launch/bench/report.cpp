// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace tutti::bench {
namespace {

// Names come from closed lists of letters, digits and dashes: nothing in them is to be escaped.
std::string quoted(const std::string& name) {
  return name.empty() ? "null" : '"' + name + '"';
}

std::string number_or(const std::optional<double>& number, const char* otherwise) {
  return number ? fmt::format("{:.3f}", *number) : otherwise;
}

bool is_collective(const Measurement& measurement) {
  return measurement.bench == "allreduce" || measurement.bench == "step";
}

}  // namespace

std::string to_json(const Measurement& m) {
  std::string line = fmt::format(
      R"({{"bench":{},"exchange":{},"transport":{},"ranks":{},"shards":{},"bytes":{},"model":{},"p50_us":{:.3f},)"
      R"("p99_us":{:.3f},"bytes_per_s":{:.0f},"exposed_us":{},"min_us":{:.3f},"max_us":{:.3f})",
      quoted(m.bench), quoted(m.exchange), quoted(m.transport), m.ranks, m.shards, m.bytes, quoted(m.model), m.us.p50,
      m.us.p99, m.bytes_per_s(), number_or(m.exposed_us, "null"), m.us.min, m.us.max);
  if (is_collective(m)) line += fmt::format(R"(,"bus_bytes_per_s":{:.0f})", bus_bandwidth(m.bytes_per_s(), m.ranks));
  if (!m.memory.empty()) line += fmt::format(R"(,"memory":"{}")", m.memory);
  for (const auto& [key, value] : m.more) line += fmt::format(R"(,"{}":{})", key, std::round(value * 1000) / 1000);
  return line + "}";
}

std::string to_table(const std::vector<Measurement>& measurements) {
  std::string text =
      fmt::format("{:<10} {:<9} {:<9} {:>5} {:>6} {:>11} {:<6} {:>11} {:>11} {:>11} {:>11} {:>8} {:>8} {:>11}\n",
                  "bench", "exchange", "transport", "ranks", "shards", "bytes", "model", "min us", "p50 us", "p99 us",
                  "max us", "GB/s", "bus GB/s", "exposed us");
  for (const Measurement& m : measurements) {
    const std::string bus =
        is_collective(m) ? fmt::format("{:.2f}", bus_bandwidth(m.bytes_per_s(), m.ranks) / 1e9) : "-";
    text += fmt::format(
        "{:<10} {:<9} {:<9} {:>5} {:>6} {:>11} {:<6} {:>11.1f} {:>11.1f} {:>11.1f} {:>11.1f} {:>8.2f} {:>8} {:>11}\n",
        m.bench, m.exchange, m.transport, m.ranks, m.shards, m.bytes, m.model.empty() ? "-" : m.model, m.us.min,
        m.us.p50, m.us.p99, m.us.max, m.bytes_per_s() / 1e9, bus,
        m.exposed_us ? fmt::format("{:.1f}", *m.exposed_us) : "-");
  }
  return text;
}

std::string guards_head() {
  return fmt::format("{:<9} {:<9} {:>5} {:>6} {:<6} {:>6} {:>11} {:>11} {:>8} {:>9}\n", "exchange", "transport",
                     "ranks", "shards", "model", "steps", "with us", "without us", "cost %", "of all %");
}

std::string guards_line(const Measurement& m) {
  const auto more = [&m](std::string_view key) {
    const auto found = std::ranges::find(m.more, key, [](const auto& entry) { return std::string_view(entry.first); });
    return found == m.more.end() ? std::nan("") : found->second;
  };
  return fmt::format("{:<9} {:<9} {:>5} {:>6} {:<6} {:>6.0f} {:>11.1f} {:>11.1f} {:>8.2f} {:>9.2f}\n", m.exchange,
                     m.transport, m.ranks, m.shards, m.model, more("rounds"), m.us.p50, more("bare_us"),
                     100 * more("cost"), 100 * more("mean_cost"));
}

}  // namespace tutti::bench
