// SPDX-License-Identifier: Apache-2.0
#include "worker/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace tutti::worker {
namespace {

// The time that is left is told from the pace of so many intervals.
constexpr std::size_t kIntervals = 8;

/// "12 s", "2:05", "1:23:45"
std::string describe(Duration time) {
  const auto seconds = static_cast<std::int64_t>(std::llround(to_seconds(time)));
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string describe_rate(double rate) {
  return rate < 10 ? fmt::format("{:.2g}", rate) : fmt::format("{:.0f}", rate);
}

std::string describe_bytes(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB"};
  auto size = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; size >= 999.5 && unit + 1 < kUnits.size(); ++unit) size /= 1000;
  return fmt::format("{:.3g} {}", size, kUnits[unit]);
}

std::string count(std::uint64_t number, std::string_view thing, std::string_view things) {
  return fmt::format("{} {}", number, number == 1 ? thing : things);
}

void add(std::string& list, const std::string& item) {
  list += (list.empty() ? "" : ", ") + item;
}

/// Per cent that add up to 100: the largest part takes what rounding leaves.
template <std::size_t N>
std::array<std::int64_t, N> percent(const std::array<Duration, N>& parts) {
  Duration total{};
  for (const Duration part : parts) total += part;
  std::array<std::int64_t, N> percents{};
  std::int64_t rest = 100;
  for (std::size_t i = 0; i < N; ++i)
    rest -= percents[i] = std::llround(100 * to_seconds(parts[i]) / to_seconds(total));
  *std::ranges::max_element(percents) += rest;
  return percents;
}

std::string describe_time(const Metrics& metrics) {
  const Duration others = metrics.waited + metrics.between + metrics.stalled;
  const std::array parts = {std::max(metrics.trained - others, Duration{}), metrics.waited, metrics.between,
                            metrics.stalled};
  constexpr std::array kNames = {"computing", "waiting for others", "data", "checkpoints"};
  const auto percents = percent(parts);
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (percents[i] > 0) add(text, fmt::format("{} % {}", percents[i], kNames[i]));
  }
  return text;
}

std::string describe_faults(const Metrics& metrics) {
  std::string text;
  if (metrics.members_joined > 0) add(text, count(metrics.members_joined, "process replaced", "processes replaced"));
  if (metrics.steps_skipped > 0) add(text, count(metrics.steps_skipped, "step skipped", "steps skipped"));
  return text;
}

}  // namespace

void Progress::log(std::string_view name, double value) {
  if (!show_.status) return;
  const auto known =
      std::find_if(values_.begin(), values_.end(), [&](const auto& entry) { return entry.first == name; });
  if (known != values_.end())
    known->second = value;
  else
    values_.emplace_back(name, value);
}

void Progress::advance(const RunPosition& position, std::size_t samples) {
  const auto& [epoch, epochs, step, steps] = position;
  if (!show_.status) return;
  ++steps_;
  samples_ += samples;
  const TimePoint time = clock_.now();
  // The first step warms up: it counts for no rate.
  const bool shows = !moments_.empty() && (time - moments_.back().time >= interval_ || step == steps);
  if (!shows && !moments_.empty()) return;
  const Moment now{time, step, samples_, metrics_.snapshot().waited};
  if (shows) {
    const std::string text = fmt::format("epoch {}/{}  step {}/{}", epoch + 1, epochs, step, steps);
    (step == steps ? show_.line : show_.status)(text + status(steps - step, now));
    shown_ = true;
  }
  moments_.push_back(now);
  if (moments_.size() > kIntervals) moments_.pop_front();
}

std::string Progress::status(std::int64_t left, const Moment& now) const {
  const Moment &last = moments_.back(), &first = moments_.front();
  const double seconds = to_seconds(now.time - last.time);
  std::string text;
  for (const auto& [name, value] : values_) text += fmt::format("  {} {:.4g}", name, value);
  if (seconds > 0) {
    text += fmt::format("  {:.0f} samples/s", static_cast<double>(now.samples - last.samples) / seconds);
    if (metrics_.snapshot().exchanges > 0)
      text += fmt::format("  exposed {:.0f} %", 100 * to_seconds(now.waited - last.waited) / seconds);
  }
  if (left > 0 && now.step > first.step) {
    const double pace = to_seconds(now.time - first.time) / static_cast<double>(now.step - first.step);
    text += "  " + describe(from_seconds(pace * static_cast<double>(left))) + " left";
  }
  return text;
}

void Progress::clear() {
  if (show_.status) show_.status("");
}

void Progress::finish(const std::string& slowest) {
  if (!std::exchange(shown_, false)) return;
  clear();
  for (const std::string& line : summary()) show_.line(line);
  if (!slowest.empty()) show_.line("  slowest: " + slowest);
}

std::string describe_slowest(const std::vector<std::string>& ranks) {
  constexpr double kApart = 0.03;  // less is noise
  std::vector<double> waited;
  for (const std::string& rank : ranks) waited.push_back(std::strtod(rank.c_str(), nullptr));
  if (waited.size() < 2) return "";
  const auto slowest = std::ranges::min_element(waited);
  const auto number = static_cast<std::size_t>(slowest - waited.begin());
  const double least = *slowest;
  waited.erase(slowest);
  const auto [low, high] = std::ranges::minmax(waited);
  if (low - least < kApart) return "";
  const std::string host = ranks[number].substr(ranks[number].find(' ') + 1);
  const std::string others = fmt::format("{:.0f}", 100 * low) == fmt::format("{:.0f}", 100 * high)
                                 ? fmt::format("{:.0f}", 100 * low)
                                 : fmt::format("{:.0f} to {:.0f}", 100 * low, 100 * high);
  return fmt::format("rank {} on {}: it waited {:.0f} % of the time, the other{} {} %", number, host, 100 * least,
                     waited.size() == 1 ? "" : "s", others);
}

std::vector<std::string> Progress::summary() const {
  const Metrics metrics = metrics_.snapshot();
  const double seconds = to_seconds(metrics.trained);
  if (seconds <= 0) return {};
  const std::string time = seconds < 60 ? fmt::format("{:.1f} s", seconds) : describe(metrics.trained);
  std::vector<std::string> lines = {fmt::format(
      "summary: {} in {} ({} steps/s, {} samples/s)", count(static_cast<std::uint64_t>(steps_), "step", "steps"), time,
      describe_rate(static_cast<double>(steps_) / seconds), describe_rate(static_cast<double>(samples_) / seconds))};
  std::string values;
  for (const auto& [name, value] : values_) add(values, fmt::format("{} {:.4g}", name, value));
  if (!values.empty()) lines.push_back("  " + values);
  lines.push_back("  time: " + describe_time(metrics));
  if (metrics.bytes_sent + metrics.bytes_received > 0) {
    lines.push_back(fmt::format("  moved: {} sent, {} received", describe_bytes(metrics.bytes_sent),
                                describe_bytes(metrics.bytes_received)));
  }
  const std::string faults = describe_faults(metrics);
  if (!faults.empty()) lines.push_back("  faults: " + faults);
  return lines;
}

}  // namespace tutti::worker
