// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/state_json.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "common/utf8.h"

namespace tutti::monitor {
namespace {

namespace json = boost::json;

std::string_view name_of(RunBoard::Phase phase) {
  switch (phase) {
    case RunBoard::Phase::kStarting:
      return "starting";
    case RunBoard::Phase::kTraining:
      return "training";
    case RunBoard::Phase::kRecovering:
      return "recovering";
    case RunBoard::Phase::kStopping:
      return "stopping";
    case RunBoard::Phase::kEnded:
      return "ended";
  }
  return "starting";
}

std::string_view name_of(Role role) {
  constexpr std::string_view kNames[] = {"worker", "server", "agent"};
  return kNames[static_cast<std::size_t>(role)];
}

// What a process wrote last may be no text at all.
std::string json_text(std::string text) {
  if (!is_utf8(text))
    std::ranges::replace_if(
        text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return text;
}

// JSON knows no NaN and no infinity.
json::value number(double value) {
  return std::isfinite(value) ? json::value(value) : nullptr;
}

template <class T>
json::value optional(const std::optional<T>& value) {
  if (!value) return nullptr;
  if constexpr (std::is_floating_point_v<T>)
    return number(*value);
  else
    return *value;
}

json::object progress_of(const RunBoard& board) {
  const RunPosition& at = board.position();
  const bool is_known = at.steps > 0;
  json::object progress;
  progress["epoch"] = is_known ? json::value(at.epoch + 1) : nullptr;
  progress["epochs"] = is_known ? json::value(at.epochs) : nullptr;
  progress["step"] = is_known ? at.step : static_cast<std::int64_t>(board.furthest_step());
  progress["steps"] = is_known ? json::value(at.steps) : nullptr;
  progress["samples_per_s"] = optional(board.samples_per_s());
  progress["exposed"] = optional(board.exposed());
  const auto rank_0 = board.rows().find({Role::kWorker, 0});
  const auto step_s = rank_0 == board.rows().end() ? std::nullopt : rank_0->second.step_s;
  const bool has_end = is_known && step_s && board.phase() == RunBoard::Phase::kTraining;
  progress["left_s"] = has_end ? json::value(*step_s * static_cast<double>(at.steps - at.step)) : nullptr;
  return progress;
}

std::string_view activity_of(const MemberId& member, const RunBoard::Row& row) {
  if (!row.is_alive || !row.report || member.role != Role::kWorker) return "";
  const Metrics& metrics = row.report->metrics;
  if (metrics.is_waiting) return "waiting";
  return metrics.iterations == 0 ? "starting" : "working";
}

json::object member_of(const RunBoard& board, const MemberId& member, const RunBoard::Row& row, TimePoint now) {
  json::object entry;
  entry["role"] = name_of(member.role);
  entry["rank"] = member.rank;
  entry["host"] = json_text(row.host);
  entry["alive"] = row.is_alive;
  entry["generation"] = row.generation;
  entry["activity"] = activity_of(member, row);
  const Report none, &report = row.report ? *row.report : none;
  const Metrics& metrics = report.metrics;
  const bool is_worker = member.role == Role::kWorker;
  entry["step"] = row.step;
  entry["step_s"] = optional(row.step_s);
  entry["waited_s"] = to_seconds(metrics.waited);
  entry["caused_wait_s"] = is_worker ? to_seconds(board.caused_by(member.rank)) : 0;
  const Duration computing = metrics.trained - metrics.waited - metrics.between - metrics.stalled;
  const bool has_trained = is_worker && row.report.has_value();
  entry["computing_s"] = has_trained ? json::value(std::max(0.0, to_seconds(computing))) : nullptr;
  entry["data_s"] = has_trained ? json::value(to_seconds(metrics.between)) : nullptr;
  entry["checkpoint_s"] = has_trained ? json::value(to_seconds(metrics.stalled)) : nullptr;
  entry["samples"] = metrics.samples;
  entry["sent_bytes"] = metrics.bytes_sent;
  entry["received_bytes"] = metrics.bytes_received;
  entry["memory_bytes"] = report.usage.memory_bytes;
  entry["cpu_s"] = to_seconds(report.usage.cpu);
  entry["gpu_memory_bytes"] = optional(report.usage.gpu_memory_bytes);
  entry["gpu_utilization"] = optional(report.usage.gpu_utilization);
  entry["heard_s"] = row.report ? json::value(to_seconds(now - row.heard)) : nullptr;
  return entry;
}

json::array history_of(const RunBoard& board, std::uint64_t after) {
  json::array history;
  for (const RunBoard::Line& line : board.history()) {
    if (line.number <= after) continue;
    json::object entry;
    entry["time_s"] = line.time_s;
    entry["kind"] = line.kind;
    entry["role"] = line.member ? json::value(name_of(line.member->role)) : nullptr;
    entry["rank"] = line.member ? json::value(line.member->rank) : nullptr;
    entry["generation"] = line.generation;
    entry["step"] = line.step;
    entry["text"] = json_text(line.text);
    history.push_back(std::move(entry));
  }
  return history;
}

json::object curves_of(const RunBoard& board, std::uint64_t after) {
  json::object curves;
  for (const auto& [name, curve] : board.curves()) {
    json::array points;
    for (const CurvePoint& point : curve.points()) {
      if (point.number > after) points.push_back({point.time_s, point.step, number(point.value)});
    }
    if (!points.empty()) curves[name] = std::move(points);
  }
  return curves;
}

json::object checkpoint_of(const RunBoard& board, TimePoint now) {
  const auto& last = board.checkpoint();
  json::object checkpoint;
  checkpoint["last_step"] = last ? json::value(last->step) : nullptr;
  checkpoint["age_s"] = last ? json::value(to_seconds(now - last->time)) : nullptr;
  checkpoint["write_s"] = last ? json::value(to_seconds(last->writing)) : nullptr;
  checkpoint["taken"] = board.totals().checkpoints;
  checkpoint["failed"] = board.totals().checkpoints_failed;
  return checkpoint;
}

}  // namespace

std::string state_json(const RunBoard& board, std::uint64_t after, const Moment& now) {
  const RunFacts& facts = board.facts();
  json::object state;
  state["version"] = 1;
  state["job"] = facts.job;
  state["program"] = json_text(facts.program);
  state["exchange"] = facts.exchange;
  state["tutti"] = TUTTI_VERSION;
  state["phase"] = name_of(board.phase());
  state["exit_code"] = optional(board.exit_code());
  state["cause"] = json_text(board.cause());
  state["generation"] = board.generation();
  state["workers"] = board.workers();
  state["shards"] = board.shards();
  state["started_s"] = board.started_s();
  state["now_s"] = now.wall_s;
  state["progress"] = progress_of(board);
  json::object values;
  for (const auto& [name, value] : board.values()) values[name] = number(value);
  state["values"] = std::move(values);
  json::array members;
  for (const auto& [member, row] : board.rows()) members.push_back(member_of(board, member, row, now.time));
  state["members"] = std::move(members);
  state["curves"] = curves_of(board, after);
  state["history"] = history_of(board, after);
  state["checkpoint"] = checkpoint_of(board, now.time);
  const bool is_on = board.phase() == RunBoard::Phase::kTraining;
  state["commands"] = {{"checkpoint", is_on && facts.can_save}, {"stop", is_on}};
  if (after == 0) state["config"] = json_text(facts.configuration);
  return json::serialize(state);
}

}  // namespace tutti::monitor
