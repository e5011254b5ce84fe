// SPDX-License-Identifier: Apache-2.0
// How a run goes on in another world. Where the user wants more workers or fewer, all are asked to stop as a
// pre-emption asks them: they end their step and save, and the next world goes on from there. Where an agent is lost,
// or a rank for good, the others are ended, and the next world goes on from the newest checkpoint (before the second
// step, from the start).
#include <algorithm>
#include <utility>

#include "common/control/coordinator_fsm.h"

namespace tutti {
namespace {

std::string count_workers(int workers) {
  return std::to_string(workers) + (workers == 1 ? " worker" : " workers");
}

}  // namespace

CoordinatorFsm::Actions CoordinatorFsm::resize(int workers, TimePoint now) {
  now_ = now;
  if (const auto asked = ask_for_world(workers); !asked) notice("no change of the world: " + asked.error().text());
  return std::exchange(actions_, {});
}

Result<> CoordinatorFsm::ask_for_world(int workers) {
  const Elasticity& elastic = options_.elasticity;
  if (elastic.is_fixed()) return fail(Errc::kUsage, "the run was not started with a range of workers");
  if (workers < elastic.least || workers > elastic.most) {
    return fail(Errc::kUsage, "found " + count_workers(workers) + ", expected " + std::to_string(elastic.least) +
                                  " to " + std::to_string(elastic.most));
  }
  if (phase_ != Phase::kRunning || verdict_.cause() || roster_.any(Role::kWorker, &Roster::Entry::left))
    return fail(Errc::kUsage, "the run is ending");
  if (restarting_ || change_.next) return fail(Errc::kUsage, "another one is under way");
  if (workers == options_.workers) return fail(Errc::kUsage, "there are " + count_workers(workers) + " already");
  change_.worn.clear();  // whoever asks says that there is room
  auto plan = plan_world(workers);
  if (!plan) return plan.error();
  change_.next = std::move(*plan);
  change_.stop_deadline = now_ + options_.end_timeout;
  notice("the world changes from " + count_workers(options_.workers) + " to " + std::to_string(workers) +
             ": all stop after their step and save",
         What::kResized);
  for (const MemberId& agent : roster_.connected(Role::kAgent)) send(agent, FrameType::kStop, {});
  return {};
}

Result<WorldPlan> CoordinatorFsm::plan_world(int workers) const {
  std::set<std::int32_t> without = change_.gone;
  without.insert(change_.worn.begin(), change_.worn.end());
  return options_.elasticity.plan(workers, without);
}

// The last one that ends its step: then nothing of the old world is left.
void CoordinatorFsm::begin_stopped_world() {
  if (phase_ != Phase::kRunning || !change_.stopped || restarting_ || !losses_.empty() || !starts_.empty()) return;
  begin_again();
}

void CoordinatorFsm::change_the_world() {
  if (phase_ != Phase::kRunning) return;
  for (auto loss = change_.losses.begin(); loss != change_.losses.end();) {
    if (now_ < loss->second.due) {
      ++loss;
      continue;
    }
    const Cause cause = std::move(loss->second.cause);
    loss = change_.losses.erase(loss);
    give_up_agent(cause);
  }
  if (!change_.stop_deadline || now_ < *change_.stop_deadline) return;
  begin_world(*change_.next, "the workers did not stop in time");
}

std::optional<TimePoint> CoordinatorFsm::next_change() const {
  std::optional<TimePoint> next = change_.stop_deadline;
  for (const auto& [agent, loss] : change_.losses) next = std::min(next.value_or(loss.due), loss.due);
  return next;
}

// The coordinator lives in agent 0.
bool CoordinatorFsm::outlives(const MemberId& agent) const {
  return options_.elasticity.outlives_agents && options_.elasticity.plan && options_.replacements > 0 &&
         phase_ == Phase::kRunning && !verdict_.cause() && agent.role == Role::kAgent && agent.rank != 0;
}

void CoordinatorFsm::give_up_agent(Cause cause) {
  const std::int32_t agent = cause.member.rank;
  change_.gone.insert(agent);
  int workers_lost = 0;
  bool had_members = false;
  for (const MemberId& member : roster_.members_but_agents()) {
    if (home_of(member).rank != agent) continue;
    roster_.at(member).exited = true;
    losses_.erase(member);
    std::erase_if(starts_, [&](const PlannedStart& planned) { return planned.start.member == member; });
    had_members = true;
    if (member.role == Role::kWorker) ++workers_lost;
  }
  if (roster_.all(Role::kWorker, &Roster::Entry::left)) return;
  tell_of_loss(cause, cause.text());
  cause.is_told = true;
  if (!had_members) return notice(cause.text() + "; it had started nothing");
  const Elasticity& elastic = options_.elasticity;
  const int fewer = std::max(elastic.least, options_.workers - workers_lost);
  go_on_with(elastic.is_fixed() ? options_.workers : fewer, cause);
}

// A rank whose place cannot be filled. Its agent is left out of the next world if it has no other worker.
bool CoordinatorFsm::shrink(Cause cause) {
  const Elasticity& elastic = options_.elasticity;
  if (elastic.is_fixed() || cause.member.role != Role::kWorker || options_.workers <= elastic.least) return false;
  const MemberId home = home_of(cause.member);
  const auto is_beside = [&](const auto& entry) {
    return entry.second == home.rank && entry.first.role == Role::kWorker && entry.first != cause.member;
  };
  if (home.rank != 0 && std::ranges::none_of(options_.homes, is_beside)) change_.worn.insert(home.rank);
  tell_of_loss(cause, cause.text());
  cause.is_told = true;
  go_on_with(options_.workers - 1, cause);
  return true;
}

void CoordinatorFsm::go_on_with(int workers, const Cause& cause) {
  if (!options_.restartable && step_of_run() > 1) return verdict_.consider(cause, Certainty::kKnown, now_);
  auto plan = plan_world(workers);
  if (!plan) {
    notice("no other world can take over: " + plan.error().text());
    return verdict_.consider(cause, Certainty::kKnown, now_);
  }
  begin_world(std::move(*plan), cause.text());
}

void CoordinatorFsm::begin_world(WorldPlan plan, const std::string& why) {
  notice(why + "; all begin again as " + count_workers(plan.workers), What::kRestarted);
  change_.next = std::move(plan);
  change_.stop_deadline.reset();
  change_.stopped = false;
  if (!restarting_) end_everybody();
  begin_again();
}

// REQUIRES: no process of the old world is left.
void CoordinatorFsm::enter_next_world() {
  change_.stop_deadline.reset();
  change_.stopped = false;
  if (!change_.next) return;
  const WorldPlan plan = std::move(*std::exchange(change_.next, std::nullopt));
  tell({.what = What::kResized,
        .generation = generation_,
        .step = step_of_run(),
        .workers = plan.workers,
        .shards = plan.servers,
        .text = "the run goes on as " + count_workers(plan.workers)});
  options_.workers = plan.workers;
  options_.servers = plan.servers;
  options_.homes = plan.homes;
  for (const MemberId& member : roster_.members_but_agents()) liveness_.forget(member);  // some are in no world after
  roster_.resize(plan.workers, plan.servers);
  attempts_.forget();
  for (const MemberId& agent : roster_.connected(Role::kAgent)) {
    send(agent, FrameType::kAssign, encode(Assign{plan.share}));
  }
}

}  // namespace tutti
