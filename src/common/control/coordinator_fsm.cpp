// SPDX-License-Identifier: Apache-2.0
#include "common/control/coordinator_fsm.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/control/resumable_stream.h"

namespace tutti {
namespace {

using Kind = CoordinatorAction::Kind;

}  // namespace

CoordinatorFsm::CoordinatorFsm(CoordinatorOptions options)
    : options_(std::move(options)),
      generation_(options_.generation),
      roster_(options_.workers, options_.servers, options_.agents),
      gathers_(options_.workers, options_.replacements > 0),
      goodbyes_(options_.workers),
      verdict_(options_.patience),
      attempts_(options_.replacements),
      liveness_(options_.timeout),
      reachability_(options_.timeout) {}

Result<CoordinatorFsm::Actions> CoordinatorFsm::join(const MemberId& who, const FrameHeader& header,
                                                     std::span<const std::byte> control, TimePoint now) {
  now_ = now;
  if (header.type != FrameType::kJoin) return fail(Errc::kProtocol, "a member's first frame is not a join");
  const Roster::Entry* place = roster_.find(who);
  const bool is_current = !place || (place->since <= header.generation && header.generation <= generation_);
  if (who.role != Role::kAgent && !is_current) {
    return fail(Errc::kMismatch, describe(who) + " is of generation " + std::to_string(header.generation) +
                                     ", the run is in " + std::to_string(generation_));
  }
  auto message = decode<Join>(control);
  if (!message) return std::move(message).error();
  if (message->workers != 0 && message->workers != options_.workers) {
    return fail(Errc::kMismatch, describe(who) + " was started for " + std::to_string(message->workers) +
                                     " workers, the run has " + std::to_string(options_.workers));
  }
  if (phase_ != Phase::kRunning && who.role != Role::kAgent && !is_absent(who)) {
    return verdict_.cause() ? fail(verdict_.cause()->code, verdict_.cause()->text())
                            : fail(Errc::kCancelled, "the run is over");
  }
  const bool is_new = header.flags != kComesAgain;
  TUTTI_TRY(is_new ? roster_.join(who, message->host) : come_again(who, header));
  Reply welcome;
  welcome.request = message->request;
  welcome.number = generation_;
  reply(who, FrameType::kJoined, welcome);
  if (!is_new) return std::exchange(actions_, {});  // what it has missed is kept for it
  const bool is_successor = who.role != Role::kAgent && roster_.at(who).since > options_.generation;
  tell(about(What::kJoined, who, describe(who) + (is_successor ? " is there again" : " joined")));
  // The processes that were asked may be gone.
  if (is_asked_to_stop_ && who.role == Role::kWorker) tell_to_stop(who);
  if (restarting_ && who.role == Role::kAgent) evict_all();  // it was not there when the others were told
  if (phase_ != Phase::kRunning) {
    const int exit_code = verdict_.cause() ? verdict_.cause()->run_exit_code() : 0;
    send(who, FrameType::kShutdown, encode(Shutdown{exit_code}));
  }
  return std::exchange(actions_, {});
}

Result<CoordinatorFsm::Actions> CoordinatorFsm::frame(const MemberId& from, const FrameHeader& header,
                                                      std::span<const std::byte> control, TimePoint now) {
  now_ = now;
  // Agents stay what they are from the run's first generation to its last.
  const bool is_fenced = from.role != Role::kAgent;
  if (is_fenced && header.generation < generation_) {
    ++stale_frames_;
    return Actions{};
  }
  if (is_fenced && header.generation > generation_) {
    return fail(Errc::kProtocol, "a frame of generation " + std::to_string(header.generation) + ", the run is in " +
                                     std::to_string(generation_));
  }
  // One that was only silent, and wakes: its processes' places are others' now.
  if (!is_fenced && change_.gone.contains(from.rank))
    return fail(Errc::kPeerLost, describe(from) + " was given up, and its processes replaced");
  TUTTI_TRY(dispatch(from, header, control));
  settle();
  return std::exchange(actions_, {});
}

template <class Message>
Result<> CoordinatorFsm::handle(const MemberId& from, std::span<const std::byte> control,
                                Result<> (CoordinatorFsm::*handler)(const MemberId&, Message)) {
  auto message = decode<Message>(control);
  if (!message) return std::move(message).error();
  return (this->*handler)(from, std::move(*message));
}

Result<> CoordinatorFsm::dispatch(const MemberId& from, const FrameHeader& header, std::span<const std::byte> control) {
  Roster::Entry& entry = roster_.at(from);
  entry.step = std::max(entry.step, header.step);
  const bool is_agent = from.role == Role::kAgent;
  switch (header.type) {
    case FrameType::kProgress:
      return {};
    case FrameType::kAbort:
      return handle(from, control, &CoordinatorFsm::on_abort);
    case FrameType::kStoreRequest:
      return handle(from, control, &CoordinatorFsm::on_store);
    case FrameType::kRestart:
      if (from.role == Role::kWorker) return handle(from, control, &CoordinatorFsm::on_restart);
      break;
    case FrameType::kUnreachable:
      if (!is_agent) return handle(from, control, &CoordinatorFsm::on_unreachable);
      break;
    case FrameType::kContribute:
      if (from.role == Role::kWorker) return handle(from, control, &CoordinatorFsm::on_contribute);
      break;
    case FrameType::kLeave:
      if (!is_agent) return handle(from, control, &CoordinatorFsm::on_leave);
      break;
    case FrameType::kChildExited:
      if (is_agent) return handle(from, control, &CoordinatorFsm::on_child_exited);
      break;
    case FrameType::kHeartbeat:
      if (is_agent) return handle(from, control, &CoordinatorFsm::on_heartbeat);
      break;
    case FrameType::kAgentDone:
      if (is_agent) return on_agent_done(from);
      break;
    default:
      break;
  }
  return fail(Errc::kProtocol, describe(from) + " sent a frame of type " +
                                   std::to_string(static_cast<int>(header.type)) + ", which it never sends");
}

CoordinatorFsm::Actions CoordinatorFsm::closed(const MemberId& who, const Failure& why, TimePoint now,
                                               Duration silent) {
  now_ = now;
  Roster::Entry* const found = roster_.find(who);
  if (!found) return {};  // of a world that was larger
  if (may_come_again(who, why)) {
    absent_[who] = {now - silent, why.text(), why.code == Errc::kTimeout};
    return {};
  }
  Roster::Entry& entry = *found;
  absent_.erase(who);
  if (std::exchange(entry.connected, false) && !entry.left) {
    Cause cause;
    cause.how = Cause::How::kLost;
    cause.last_error = why.text();
    // In a managed run the agent of that host will say more in a moment; in an embedded one a shard lives in a rank's
    // process, and the loss of that rank is the better name for it.
    const bool more_to_come = options_.agents > 0 ? who.role != Role::kAgent : who.role == Role::kServer;
    blame(who, std::move(cause), more_to_come ? Certainty::kLost : Certainty::kKnown);
  }
  settle();
  return std::exchange(actions_, {});
}

CoordinatorFsm::Actions CoordinatorFsm::tick(TimePoint now) {
  now_ = now;
  answer_late_requests();
  judge();
  give_up_the_absent();
  evict_the_late();
  start_the_due();
  change_the_world();
  settle();
  return std::exchange(actions_, {});
}

std::optional<TimePoint> CoordinatorFsm::next_deadline() const {
  std::optional<TimePoint> next;
  const auto consider = [&](std::optional<TimePoint> deadline) {
    if (deadline) next = std::min(next.value_or(*deadline), *deadline);
  };
  consider(gathers_.next_deadline());
  consider(goodbyes_.next_deadline());
  consider(store_.next_deadline());
  for (const auto& [member, loss] : losses_) consider(loss.due);
  for (const PlannedStart& planned : starts_) consider(planned.due);
  if (phase_ == Phase::kRunning) consider(next_change());
  if (phase_ == Phase::kRunning) consider(verdict_.next_deadline());
  if (phase_ == Phase::kRunning) consider(liveness_.next_look());
  if (phase_ == Phase::kRunning) {
    for (const auto& [member, absence] : absent_) consider(give_up_time(member));
  }
  if (phase_ == Phase::kAborting || phase_ == Phase::kClosing) consider(end_deadline_);
  return phase_ == Phase::kFinished ? std::nullopt : next;
}

void CoordinatorFsm::send(const MemberId& to, FrameType type, std::string control) {
  if (!roster_.is_connected(to)) return;
  CoordinatorAction action;
  action.kind = Kind::kSend;
  action.to = to;
  action.type = type;
  action.control = std::move(control);
  actions_.push_back(std::move(action));
}

Happening CoordinatorFsm::about(What what, const MemberId& member, std::string text) const {
  const Roster::Entry& entry = roster_.at(member);
  return {.what = what,
          .member = member,
          .host = entry.host,
          .generation = generation_,
          .step = entry.step,
          .text = std::move(text)};
}

void CoordinatorFsm::tell(Happening happening) {
  CoordinatorAction action;
  action.kind = Kind::kHappened;
  action.happening = std::move(happening);
  actions_.push_back(std::move(action));
}

void CoordinatorFsm::notice(std::string line, What what) {
  notice(Happening{.what = what, .generation = generation_, .step = step_of_run(), .text = std::move(line)});
}

void CoordinatorFsm::notice(Happening happening) {
  tell(std::move(happening));
  actions_.back().kind = Kind::kNotice;
}

// A reply that would not fit into a frame is a failure that says so.
void CoordinatorFsm::reply(const MemberId& to, FrameType type, const Reply& reply) {
  std::string control = encode(reply);
  if (control.size() > kControlBytesMax) {
    return refuse(
        to, type, reply.request,
        fail(Errc::kUsage, "the contributions are " + std::to_string(control.size()) + " bytes together, at most " +
                               std::to_string(kControlBytesMax) + " are allowed"));
  }
  send(to, type, std::move(control));
}

void CoordinatorFsm::refuse(const MemberId& to, FrameType type, std::uint64_t request, const Failure& why) {
  Reply refusal;
  refusal.request = request;
  refusal.ok = false;
  refusal.code = why.code;
  refusal.text = why.text();
  send(to, type, encode(refusal));
}

TimePoint CoordinatorFsm::deadline_of(std::uint64_t wait_ns) const {
  return now_ + duration_of(wait_ns);
}

}  // namespace tutti
