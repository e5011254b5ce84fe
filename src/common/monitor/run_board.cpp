// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/run_board.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/utf8.h"

namespace tutti::monitor {
namespace {

constexpr std::size_t kPointsMax = 2000;  // of a curve
constexpr std::size_t kLinesMax = 1000;   // of the history: the oldest go
constexpr std::size_t kCurvesMax = 64;    // a program that makes up names does not fill the memory
constexpr MemberId kRank0{Role::kWorker, 0};

using What = Happening::What;

std::string_view kind_of(const Happening& happening) {
  switch (happening.what) {
    case What::kJoined:
      return "joined";
    case What::kLost:
      return "lost";
    case What::kLeft:
      return "left";
    case What::kQuiet:
      return "quiet";
    case What::kSlow:
      return "slow";
    case What::kRestarted:
      return "restarted";
    case What::kResized:
      return "resized";
    case What::kStopping:
      return "stopping";
    case What::kEnded:
      return "ended";
    case What::kNotice:
      return "notice";
  }
  return "notice";
}

}  // namespace

RunBoard::RunBoard(RunFacts facts, const Moment& start) : facts_(std::move(facts)), start_(start) {
  set_world(facts_.workers, facts_.shards);
}

void RunBoard::set_world(int workers, int shards) {
  for (int rank = workers; rank < workers_; ++rank) waits_.forget(rank);
  workers_ = workers;
  shards_ = shards;
  const auto size_of = [&](Role role) { return role == Role::kWorker ? workers : shards; };
  std::erase_if(rows_, [&](const auto& entry) {
    const MemberId& member = entry.first;
    return member.role != Role::kAgent && member.rank >= size_of(member.role);
  });
  for (const Role role : {Role::kWorker, Role::kServer}) {
    for (int rank = 0; rank < size_of(role); ++rank) rows_[{role, rank}];
  }
}

// Agents outlive the processes that they start.
void RunBoard::end_processes() {
  for (auto& [member, row] : rows_) {
    if (member.role != Role::kAgent) row.is_alive = false;
  }
}

bool RunBoard::is_everybody_there() const {
  return std::ranges::all_of(
      rows_, [](const auto& entry) { return entry.first.role == Role::kAgent || entry.second.is_alive; });
}

std::uint64_t RunBoard::furthest_step() const noexcept {
  std::uint64_t step = 0;
  for (const auto& [member, row] : rows_) {
    if (member.role == Role::kWorker && row.is_alive) step = std::max(step, row.step);
  }
  return step;
}

void RunBoard::set_steps(const std::map<MemberId, std::uint64_t>& steps) {
  for (const auto& [member, step] : steps) {
    const auto row = rows_.find(member);
    if (row != rows_.end()) row->second.step = std::max(row->second.step, step);
  }
}

void RunBoard::heard(const MemberId& from, const Report& report, const Moment& now) {
  const auto place = rows_.find(from);
  if (place == rows_.end()) return;  // of a world that was larger
  Row& row = place->second;
  const std::optional<Report> before = std::exchange(row.report, report);
  row.heard = now.time;
  row.step = std::max(row.step, report.metrics.step);
  follow_checkpoints(before ? &*before : nullptr, report, from, now);
  if (from.role != Role::kWorker) return;
  const Histogram& steps = report.metrics.step_time;
  const Histogram none, &steps_before = before ? before->metrics.step_time : none;
  if (steps.count() > steps_before.count())
    row.step_s = to_seconds(steps.sum - steps_before.sum) / static_cast<double>(steps.count() - steps_before.count());
  waits_.heard(from.rank, report.metrics.steps_through, report.metrics.waited_through,
               static_cast<std::size_t>(workers_));
  if (report.metrics.iterations > 0 && (phase_ == Phase::kStarting || phase_ == Phase::kRecovering) &&
      is_everybody_there())
    phase_ = is_asked_to_stop_ ? Phase::kStopping : Phase::kTraining;
  if (from == kRank0) {
    take_values(report, now);
    count_lost_steps(row, report.metrics);
    follow_rank_0(before ? &*before : nullptr, report, now);
  }
}

// Rank 0's are the run's. A process that has made more steps than the run went on by has made some again.
void RunBoard::count_lost_steps(Row& row, const Metrics& metrics) {
  if (metrics.steps == 0) return;
  if (!row.first_step) row.first_step = metrics.steps_through - std::min(metrics.steps, metrics.steps_through);
  const std::uint64_t before = *row.first_step < row.steps_before ? row.steps_before - *row.first_step : 0;
  const std::uint64_t went_on = metrics.steps_through - std::min(*row.first_step, metrics.steps_through);
  const std::uint64_t repeated = before + metrics.steps - std::min(went_on, metrics.steps);
  if (repeated > row.repeated_steps) totals_.lost_steps += repeated - row.repeated_steps;
  row.repeated_steps = std::max(row.repeated_steps, repeated);
  steps_made_ = std::max(steps_made_, metrics.steps_through);
}

void RunBoard::follow_rank_0(const Report* before, const Report& report, const Moment& now) {
  if (report.position.steps > 0) position_ = report.position;
  const Metrics& metrics = report.metrics;
  if (before == nullptr || metrics.step_time.count() <= before->metrics.step_time.count()) return;
  const auto steps = static_cast<double>(metrics.step_time.count() - before->metrics.step_time.count());
  const double seconds = to_seconds(metrics.step_time.sum - before->metrics.step_time.sum);
  if (seconds <= 0) return;
  const auto step = static_cast<std::int64_t>(metrics.step) + 1;
  add_point("step_s", now.wall_s, step, seconds / steps);
  if (metrics.samples > before->metrics.samples) {
    samples_per_s_ = static_cast<double>(metrics.samples - before->metrics.samples) * workers_ / seconds;
    add_point("samples_per_s", now.wall_s, step, *samples_per_s_);
  }
  if (metrics.exchange_time.count() > 0) {
    exposed_ = std::min(1.0, to_seconds(metrics.waited - before->metrics.waited) / seconds);
    add_point("exposed", now.wall_s, step, *exposed_);
  }
}

void RunBoard::follow_checkpoints(const Report* before, const Report& report, const MemberId& from, const Moment& now) {
  const Metrics none, &metrics = report.metrics, &old = before != nullptr ? before->metrics : none;
  if (metrics.checkpoints > old.checkpoints) {
    totals_.checkpoints += metrics.checkpoints - old.checkpoints;
    const auto written = static_cast<std::int64_t>(metrics.checkpoint_time.count() - old.checkpoint_time.count());
    const Duration writing = metrics.checkpoint_time.sum - old.checkpoint_time.sum;
    checkpoint_ = {metrics.checkpoint_step, now.time, writing / std::max<std::int64_t>(written, 1)};
    add_line("checkpoint",
             {.member = from,
              .generation = generation_,
              .step = metrics.checkpoint_step,
              .text = fmt::format("the checkpoint of step {} is on the disk", metrics.checkpoint_step)},
             now);
  }
  if (metrics.checkpoints_failed > old.checkpoints_failed) {
    totals_.checkpoints_failed += metrics.checkpoints_failed - old.checkpoints_failed;
    add_line("checkpoint_failed",
             {.member = from,
              .generation = generation_,
              .step = metrics.step,
              .text = "a checkpoint could not be written, or was left out; older ones are intact"},
             now);
  }
  if (metrics.steps_skipped > old.steps_skipped && from == kRank0) {
    totals_.skipped_steps += metrics.steps_skipped - old.steps_skipped;
    add_line("skipped",
             {.member = from,
              .generation = generation_,
              .step = metrics.step,
              .text = "a step was left out on all ranks: a gradient was not finite"},
             now);
  }
}

void RunBoard::take_values(const Report& report, const Moment& now) {
  for (const LoggedValue& value : report.values) {
    if (!is_utf8(value.name) || (!values_.contains(value.name) && values_.size() >= kCurvesMax)) continue;
    values_[value.name] = value.value;
    add_point(value.name, now.wall_s - static_cast<double>(value.age_ns) * 1e-9, value.step, value.value);
  }
}

void RunBoard::happened(const Happening& happening, const Moment& now) {
  generation_ = std::max(generation_, happening.generation);
  std::string kind(kind_of(happening));
  if (happening.member && happening.what == What::kJoined) {
    const bool is_successor = happening.member->role != Role::kAgent && happening.generation > 1 &&
                              rows_[*happening.member].generation < happening.generation;
    if (is_successor) kind = "replaced";
    if (is_successor) ++totals_.replacements;
    join(*happening.member, happening);
  }
  if (happening.member && happening.what == What::kLost) lose(*happening.member, happening);
  if (happening.member && happening.what == What::kLeft) rows_[*happening.member].is_alive = false;
  if (happening.what == What::kResized && happening.workers > 0) set_world(happening.workers, happening.shards);
  if (happening.what == What::kRestarted || (happening.what == What::kResized && happening.workers > 0)) {
    phase_ = Phase::kRecovering;
    steps_made_ = std::max(steps_made_, happening.step);  // the one that it was at was not done yet
    end_processes();
  }
  if (happening.what == What::kStopping) {
    phase_ = Phase::kStopping;
    is_asked_to_stop_ = true;
  }
  if (happening.what == What::kEnded) {
    phase_ = Phase::kEnded;
    exit_code_ = happening.exit_code;
    if (happening.exit_code != 0) cause_ = happening.text;
    for (auto& [member, row] : rows_) row.is_alive = false;
  }
  if (happening.what != What::kLeft) add_line(std::move(kind), happening, now);
}

void RunBoard::join(const MemberId& member, const Happening& happening) {
  rows_[member] = {
      .host = happening.host, .is_alive = true, .generation = happening.generation, .steps_before = steps_made_};
  if (member.role == Role::kWorker) waits_.forget(member.rank);
}

void RunBoard::lose(const MemberId& member, const Happening& happening) {
  Row& row = rows_[member];
  row.is_alive = false;
  ++totals_.evictions[std::string(happening.reason)];
  // The step that it was at was not done yet.
  if (member.role == Role::kWorker) steps_made_ = std::max(steps_made_, happening.step);
  if (phase_ == Phase::kTraining) phase_ = Phase::kRecovering;
}

void RunBoard::add_line(std::string kind, const Happening& happening, const Moment& now) {
  history_.push_back({++numbers_, now.wall_s, std::move(kind), happening.member, happening.generation, happening.step,
                      happening.text});
  if (history_.size() > kLinesMax) history_.pop_front();
}

void RunBoard::add_point(const std::string& name, double time_s, std::int64_t step, double value) {
  if (!curves_.contains(name) && curves_.size() >= kCurvesMax) return;
  curves_.try_emplace(name, kPointsMax).first->second.add({time_s, step, value, ++numbers_});
}

}  // namespace tutti::monitor
