// SPDX-License-Identifier: Apache-2.0
// How a run goes on after a loss. A process that is gone, its agent says, gets a successor: a new generation begins,
// the agent is told to start the process again, and those that live on meet the newcomer in the gathers of that
// generation. A process of which all but that is lost is ended by its agent first, so there are never two of one name.
// Where those that live on cannot go on from where they are, everybody begins again: from the newest checkpoint, or,
// before the second step, from the start.
#include <algorithm>
#include <utility>

#include "common/control/coordinator_fsm.h"

namespace tutti {
namespace {

// A process that was refused, badly configured or misused would end the same way again.
bool is_worth_another_try(const Cause& cause) {
  const auto is_final = [](int code) {
    return 64 <= code && code <= 78 && code != exit_code(Errc::kPeerLost) && code != exit_code(Errc::kInternal);
  };
  switch (cause.how) {
    case Cause::How::kExited:
      return cause.signal != 0 || !is_final(cause.exit_code);
    case Cause::How::kReported:
      return !is_final(exit_code(cause.code));
    case Cause::How::kLost:
      return true;
    case Cause::How::kLeftEarly:
      return false;
  }
  return false;
}

}  // namespace

std::uint64_t CoordinatorFsm::step_of_run() const {
  std::uint64_t step = 0;
  for (std::int32_t rank = 0; rank < options_.workers; ++rank)
    step = std::max(step, roster_.at({Role::kWorker, rank}).step);
  return step;
}

std::map<MemberId, std::uint64_t> CoordinatorFsm::steps() const {
  std::map<MemberId, std::uint64_t> steps;
  for (std::int32_t rank = 0; rank < options_.workers; ++rank)
    steps[{Role::kWorker, rank}] = roster_.at({Role::kWorker, rank}).step;
  return steps;
}

// A program that never joins has nobody to meet again.
bool CoordinatorFsm::is_replaced(const Cause& cause) const {
  return options_.replacements > 0 && options_.agents > 0 && phase_ == Phase::kRunning && !verdict_.cause() &&
         cause.member.role != Role::kAgent && !roster_.at(cause.member).left && is_worth_another_try(cause) &&
         roster_.any(Role::kWorker, &Roster::Entry::joined);
}

// What the member said of itself tells more than how its process ended, and that more than a connection that broke.
void CoordinatorFsm::lose(Cause cause) {
  const MemberId who = cause.member;
  const Roster::Entry& entry = roster_.at(who);
  const auto [loss, is_new] = losses_.try_emplace(who, Loss{cause, now_ + options_.patience});
  if (!is_new && entry.reported && loss->second.evicted)
    loss->second.cause.doing = std::move(cause.doing);
  else if (!is_new && !entry.reported)
    loss->second.cause = std::move(cause);
  if (entry.exited) replace(Cause(loss->second.cause));
}

void CoordinatorFsm::replace(const Cause& cause) {
  const MemberId who = cause.member;
  losses_.erase(who);
  absent_.erase(who);
  liveness_.forget(who);
  last_loss_ = cause;
  const auto pause = attempts_.next(who, who.role == Role::kWorker ? cause.step : step_of_run());
  if (!pause && shrink(cause)) return;
  if (!pause) return verdict_.consider(cause, Certainty::kKnown, now_);
  roster_.vacate(who, generation_ + 1);
  store_.forget(who);
  begin_generation({who}, cause.text());
  tell_of_loss(cause, cause.text() + "; generation " + std::to_string(generation_) + " begins with a new process");
  actions_.back().kind = CoordinatorAction::Kind::kNotice;
  last_loss_->is_told = true;
  // Before that there is no state to take over: those that have begun ask for all to begin again, the others begin now.
  const bool is_under_way = step_of_run() > 0;
  starts_.push_back({{who, generation_, is_under_way}, now_ + *pause});
  start_the_due();
}

void CoordinatorFsm::begin_generation(const std::vector<MemberId>& lost, const std::string& why) {
  ++generation_;
  liveness_.begin_generation();
  reachability_.begin_generation();
  gathers_.begin_generation();
  goodbyes_.begin_generation();
  store_.forget_waiters();
  const std::string regroup = encode(Regroup{generation_, lost, why});
  for (const MemberId& member : roster_.connected_but_agents()) send(member, FrameType::kRegroup, regroup);
}

void CoordinatorFsm::evict_the_late() {
  if (phase_ != Phase::kRunning) return;
  for (auto& [who, loss] : losses_) {
    if (now_ < loss.due) continue;
    if (loss.evicted) verdict_.consider(loss.cause, Certainty::kKnown, now_);
    loss.evicted = true;
    loss.due = now_ + options_.end_timeout;
    evict(who);
  }
}

void CoordinatorFsm::evict(const MemberId& who) {
  send(home_of(who), FrameType::kEvict, encode(Evict{who}));
}

MemberId CoordinatorFsm::home_of(const MemberId& who) const {
  const auto home = options_.homes.find(who);
  return {Role::kAgent, home == options_.homes.end() ? 0 : home->second};
}

void CoordinatorFsm::start_the_due() {
  if (phase_ != Phase::kRunning) return;
  std::erase_if(starts_, [this](const PlannedStart& planned) {
    if (now_ < planned.due) return false;
    roster_.at(planned.start.member).exited = false;
    send(home_of(planned.start.member), FrameType::kStart, encode(planned.start));
    return true;
  });
}

Result<> CoordinatorFsm::on_restart(const MemberId& from, Restart message) {
  restart_all(describe(from) + " " + message.why);
  return {};
}

void CoordinatorFsm::restart_all(const std::string& why) {
  if (restarting_ || phase_ != Phase::kRunning || !last_loss_) return;
  if (!options_.restartable && step_of_run() > 1) {
    Cause cause = *last_loss_;
    cause.is_beyond_repair = true;
    return verdict_.consider(std::move(cause), Certainty::kKnown, now_);
  }
  notice("all workers begin again: " + why, What::kRestarted);
  end_everybody();
  begin_again();
}

void CoordinatorFsm::end_everybody() {
  restarting_ = true;
  losses_.clear();
  starts_.clear();
  reachability_.begin_generation();
  ++generation_;  // what those say that are being ended is not heard any more
  evict_all();
}

// Whoever has ended is not there any more, and an agent knows nobody whom it has not started.
void CoordinatorFsm::evict_all() {
  for (const MemberId& member : roster_.members_but_agents()) {
    if (!roster_.at(member).exited) evict(member);
  }
}

// A run that is ending begins nothing.
void CoordinatorFsm::begin_again() {
  if (phase_ != Phase::kRunning) return;
  const auto has_exited = [this](const MemberId& member) { return roster_.at(member).exited; };
  if (!std::ranges::all_of(roster_.members_but_agents(), has_exited)) return;
  restarting_ = false;
  enter_next_world();
  const std::vector<MemberId> members = roster_.members_but_agents();
  ++generation_;
  gathers_ = GatherTable(options_.workers, options_.replacements > 0);
  goodbyes_ = GatherTable(options_.workers);
  store_ = KvStore();
  leaving_servers_.clear();
  std::erase_if(absent_, [](const auto& entry) { return entry.first.role != Role::kAgent; });
  for (const MemberId& member : members) {
    roster_.vacate(member, generation_);
    roster_.at(member).step = 0;
    liveness_.forget(member);
    starts_.push_back({{member, generation_, /*newcomer=*/false}, now_});
  }
  start_the_due();
}

}  // namespace tutti
