// SPDX-License-Identifier: Apache-2.0
#include "common/control/liveness.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "common/control/absence.h"

namespace tutti {
namespace {

constexpr int kQuietPart = 3;     // of a timeout
constexpr int kUsualSteps = 10;   // that a step may last
constexpr int kWorkTimeouts = 4;  // but never more
constexpr int kStartTimeouts = 8;
constexpr std::uint64_t kWindowSteps = 5;
constexpr auto kTellAgain = std::chrono::minutes(2);

}  // namespace

void Liveness::heard(const MemberId& agent, const Heartbeat& heartbeat, TimePoint now) {
  if (timeout_ == Duration::zero()) return;
  agents_[agent] = {now};
  for (const ChildBeat& beat : heartbeat.children) {
    Child& child = children_[beat.member];
    const bool is_known = child.heard != TimePoint{};
    const bool has_changed = is_known && (beat.activity != child.beat.activity || beat.step != child.beat.step);
    if (has_changed || forgotten_.erase(beat.member) > 0) child.busy_since = now;
    child.beat = beat;
    child.heard = now;
    // One that takes a lost one's place waits to begin, before the step is there that it begins with.
    if (!child.first_step && beat.step > 0) child.first_step = beat.step;
  }
}

void Liveness::forget(const MemberId& member) {
  children_.erase(member);
  forgotten_.insert(member);
  window_.reset();
}

void Liveness::begin_generation() {
  window_.reset();
  slowest_.reset();
}

std::optional<TimePoint> Liveness::next_look() const {
  if (agents_.empty()) return std::nullopt;
  return last_look_.value_or(TimePoint{}) + period();
}

std::optional<TimePoint> Liveness::lease_end(const MemberId& agent) const {
  const auto found = agents_.find(agent);
  if (found == agents_.end()) return std::nullopt;
  return found->second.heard + timeout_;
}

std::vector<Liveness::Finding> Liveness::judge(TimePoint now) {
  if (timeout_ == Duration::zero()) return {};
  forgive_own_pause(now);
  judge_agents(now);
  for (auto& entry : children_) {
    if (is_fresh(entry.second, now)) judge_silence(entry);
  }
  judge_progress(now);
  judge_pace(now);
  return std::exchange(findings_, {});
}

void Liveness::forgive_own_pause(TimePoint now) {
  const bool was_away = last_look_ && now - *last_look_ > 2 * period();
  last_look_ = now;
  if (!was_away) return;
  for (auto& [id, agent] : agents_) agent = {now};
  window_.reset();
}

// Where nobody is heard of any more, it is the coordinator that is cut off: steps pause, and nobody's place is given
// away. The first agent lives in the coordinator's process.
bool Liveness::all_agents_are_quiet() const {
  std::size_t others = 0, quiet = 0;
  for (const auto& [id, agent] : agents_) {
    if (id.rank == 0) continue;
    ++others;
    if (agent.is_quiet) ++quiet;
  }
  return others > 1 && quiet == others;
}

void Liveness::judge_agents(TimePoint now) {
  for (auto& [id, agent] : agents_) {
    const Duration silent = now - agent.heard;
    if (id.rank == 0 || silent < timeout_ / kQuietPart) continue;
    if (!std::exchange(agent.is_quiet, true)) findings_.push_back({Finding::Kind::kQuiet, id, silent});
    const Duration most = all_agents_are_quiet() ? kCutOffTimeouts * timeout_ : timeout_;
    if (silent >= most && !std::exchange(agent.is_dead, true)) {
      findings_.push_back({Finding::Kind::kDead, id, silent});
    }
  }
}

void Liveness::judge_silence(Children::value_type& entry) {
  auto& [id, child] = entry;
  const Duration silent = duration_of(child.beat.silent_ns);
  if (silent < timeout_ / kQuietPart) {
    child.is_quiet = false;
    return;
  }
  if (!std::exchange(child.is_quiet, true)) findings_.push_back({Finding::Kind::kQuiet, id, silent});
  if (silent < timeout_ || std::exchange(child.is_condemned, true)) return;
  findings_.push_back({Finding::Kind::kDead, id, silent});
}

Duration Liveness::patience_for(const Child& child) const {
  if (child.beat.activity == Activity::kStarting) return kStartTimeouts * timeout_;
  const bool has_stepped = child.first_step && child.beat.step > *child.first_step;
  if (!has_stepped || usual_step_ == Duration::zero()) return kWorkTimeouts * timeout_;
  return std::clamp(kUsualSteps * usual_step_, timeout_, kWorkTimeouts * timeout_);
}

void Liveness::judge_progress(TimePoint now) {
  std::size_t waiting = 0;
  Duration waited = Duration::max();
  std::vector<Children::value_type*> awaited;
  for (auto& entry : children_) {
    const auto& [id, child] = entry;
    if (id.role != Role::kWorker || !is_fresh(child, now) || child.beat.activity == Activity::kLeaving) continue;
    if (child.beat.activity != Activity::kWaiting) {
      awaited.push_back(&entry);
      continue;
    }
    ++waiting;
    waited = std::min(waited, duration_of(child.beat.since_ns));
  }
  if (waiting == 0 || waiting < awaited.size()) return;
  for (auto* const entry : awaited) {
    auto& [id, child] = *entry;
    // For one whose place it has taken the others may have waited before; and what they say may be older.
    const Duration for_it = std::min(waited, now - child.busy_since.value_or(now - waited));
    if (for_it < patience_for(child) || std::exchange(child.is_condemned, true)) continue;
    findings_.push_back({Finding::Kind::kStuck, id, for_it});
  }
}

void Liveness::judge_pace(TimePoint now) {
  Window current{now, {}};
  for (const auto& [id, child] : children_) {
    if (id.role != Role::kWorker) continue;
    const bool trains = child.beat.activity == Activity::kWorking || child.beat.activity == Activity::kWaiting;
    if (!trains || !child.first_step || !is_fresh(child, now)) return window_.reset();
    current.beats[id] = child.beat;
  }
  if (!window_ || window_->beats.size() != current.beats.size() || current.beats.size() < 2) {
    window_ = std::move(current);
    return;
  }
  std::uint64_t steps = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [id, beat] : current.beats) {
    const std::uint64_t before = window_->beats[id].step;
    steps = std::min(steps, beat.step > before ? beat.step - before : 0);
  }
  if (steps < kWindowSteps || now - window_->begin < period()) return;
  end_window(steps, now);
  window_ = std::move(current);
}

void Liveness::end_window(std::uint64_t steps, TimePoint now) {
  usual_step_ = (now - window_->begin) / static_cast<std::int64_t>(steps);
  std::optional<MemberId> slowest;
  double least = 0, all = 0;
  for (const auto& [id, before] : window_->beats) {
    const ChildBeat& after = children_[id].beat;
    const double made = static_cast<double>(std::max<std::uint64_t>(after.step - before.step, 1));
    const double waited = to_seconds(duration_of(after.waited_ns) - duration_of(before.waited_ns)) / made;
    all += waited;
    if (slowest && waited >= least) continue;
    slowest = id;
    least = waited;
  }
  const double others = (all - least) / static_cast<double>(window_->beats.size() - 1);
  if ((others - least) * 2 < to_seconds(usual_step_)) slowest.reset();
  if (std::exchange(slowest_, slowest) != slowest || !slowest) return;
  const auto told = told_slow_.find(*slowest);
  if (told != told_slow_.end() && now - told->second < kTellAgain) return;
  told_slow_[*slowest] = now;
  findings_.push_back({Finding::Kind::kSlow, *slowest, from_seconds(others), usual_step_});
}

}  // namespace tutti
