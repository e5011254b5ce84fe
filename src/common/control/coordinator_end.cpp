// SPDX-License-Identifier: Apache-2.0
// How a run ends: well, when every worker said goodbye (and, in a managed run, exited with 0), or with the first cause,
// which everybody is told at once. In both cases the coordinator waits for the agents' answer before it calls the run
// finished.
#include <sys/wait.h>

#include <algorithm>
#include <utility>

#include "common/control/coordinator_fsm.h"

namespace tutti {
namespace {

using Kind = CoordinatorAction::Kind;

constexpr int kExitStopped = 75;
constexpr int kExitInterrupted = 130;  // as after a ^C: the user ended it, and nobody is to start it again

// What a process says, or exits with, because of somebody else's end.
bool is_echo(Errc code) {
  return code == Errc::kPeerLost || code == Errc::kTimeout || code == Errc::kCollective || code == Errc::kCancelled;
}

std::string describe_end(int exit_code) {
  if (exit_code == kExitInterrupted) return "the run was asked to stop";
  return exit_code == kExitStopped ? "the run was told to make room" : "the run ended";
}

}  // namespace

Result<> CoordinatorFsm::on_abort(const MemberId& from, Abort message) {
  Cause cause;
  cause.how = Cause::How::kReported;
  cause.code = message.code;
  cause.last_error = std::move(message.text);
  // Whoever has waited in vain is not the guilty one where somebody cannot be reached.
  if (is_echo(message.code)) judge_reachability(Duration::zero());
  blame(from, std::move(cause), is_echo(message.code) ? Certainty::kHearsay : Certainty::kKnown);
  roster_.at(from).reported = true;
  return {};
}

Result<> CoordinatorFsm::on_child_exited(const MemberId& from, ChildExited message) {
  Roster::Entry* entry = roster_.find(message.member);
  if (!entry || message.member.role == Role::kAgent) {
    return fail(Errc::kProtocol,
                describe(from) + " reports the end of " + describe(message.member) + ", which is not part of this run");
  }
  entry->exited = true;
  entry->step = std::max(entry->step, message.step);
  if (entry->host.empty()) entry->host = roster_.at(from).host;
  if (restarting_) {
    begin_again();
    return {};
  }
  // A worker that was asked to stop leaves as one that is done, and its exit code asks for another run.
  const bool stopped =
      entry->left && WIFEXITED(message.wait_status) && WEXITSTATUS(message.wait_status) == kExitStopped;
  if (stopped && change_.stop_deadline)
    change_.stopped = true;
  else if (stopped)
    exit_code_ = is_asked_to_stop_ ? kExitInterrupted : kExitStopped;
  if (message.wait_status == 0 || stopped) {
    on_clean_exit(message.member);
    return {};
  }
  Cause cause;
  cause.signal = WIFSIGNALED(message.wait_status) ? WTERMSIG(message.wait_status) : 0;
  cause.exit_code = WIFEXITED(message.wait_status) ? WEXITSTATUS(message.wait_status) : 0;
  cause.last_error = std::move(message.last_error);
  cause.doing = std::move(message.doing);
  const bool echo = cause.exit_code == exit_code(Errc::kPeerLost);
  blame(message.member, std::move(cause), echo ? Certainty::kHearsay : Certainty::kKnown);
  return {};
}

// A program that never makes a Session has nothing to leave: then exit codes are all there is.
void CoordinatorFsm::on_clean_exit(const MemberId& who) {
  tell(about(What::kLeft, who, describe(who) + " ended"));
  if (roster_.at(who).left || !roster_.any(Role::kWorker, &Roster::Entry::joined)) return;
  Cause cause;
  cause.how = Cause::How::kLeftEarly;
  blame(who, std::move(cause), Certainty::kKnown);
}

Result<> CoordinatorFsm::on_agent_done(const MemberId& from) {
  roster_.at(from).left = true;
  return {};
}

void CoordinatorFsm::on_all_left() {
  for (const auto& leaving : std::exchange(leaving_servers_, {})) {
    const MemberId server{Role::kServer, leaving.rank};
    Reply goodbye;
    goodbye.request = leaving.request;
    reply(server, FrameType::kLeft, goodbye);
    roster_.at(server).left = true;
  }
  if (options_.agents == 0) close_run();
}

// The first words of a member about itself stand: how it then ends follows from them. A server is missed by nobody once
// all workers have left.
void CoordinatorFsm::blame(const MemberId& who, Cause cause, Certainty certainty) {
  const Roster::Entry& entry = roster_.at(who);
  const bool missed = who.role != Role::kServer || !roster_.all(Role::kWorker, &Roster::Entry::left);
  const bool told = entry.reported && !losses_.contains(who);
  cause.member = who;
  cause.host = entry.host;
  cause.step = entry.step;
  if (cause.how == Cause::How::kLost && outlives(who)) {
    // Until then its processes may begin steps.
    const TimePoint lease_end = liveness_.lease_end(who).value_or(now_);
    change_.losses[who.rank] = {std::move(cause), std::max(now_ + options_.patience, lease_end)};
    return;
  }
  const bool expected = restarting_ && who.role != Role::kAgent;
  if (phase_ == Phase::kClosing || phase_ == Phase::kFinished || expected || told || !missed) return;
  if (is_replaced(cause)) return lose(std::move(cause));
  verdict_.consider(std::move(cause), certainty, now_);
}

void CoordinatorFsm::settle() {
  begin_stopped_world();
  if (phase_ == Phase::kRunning && verdict_.is_due(now_)) {
    abort_run(verdict_.pronounce());
  } else if (phase_ == Phase::kRunning && !verdict_.cause() && options_.agents > 0 && !restarting_ &&
             !change_.stopped && starts_.empty() && losses_.empty() &&
             roster_.all(Role::kWorker, &Roster::Entry::exited)) {
    close_run();
  }
  const bool ending = phase_ == Phase::kAborting || phase_ == Phase::kClosing;
  if (!ending || (!everybody_answered() && now_ < end_deadline_)) return;
  phase_ = Phase::kFinished;
  CoordinatorAction finished;
  finished.exit_code = exit_code_;
  if (verdict_.cause()) {
    if (const Cause& cause = *verdict_.cause(); !cause.is_told) tell_of_loss(cause, cause.text());
    CoordinatorAction line;
    line.kind = Kind::kLine;
    line.line = verdict_.cause()->text();
    actions_.push_back(std::move(line));
    finished.exit_code = verdict_.cause()->run_exit_code();
  }
  tell({.what = What::kEnded,
        .generation = generation_,
        .step = step_of_run(),
        .exit_code = finished.exit_code,
        .text = verdict_.cause() ? verdict_.cause()->text() : describe_end(finished.exit_code)});
  finished.kind = Kind::kFinished;
  actions_.push_back(std::move(finished));
}

void CoordinatorFsm::tell_of_loss(const Cause& cause, std::string text) {
  Happening loss = about(What::kLost, cause.member, std::move(text));
  loss.reason = cause.reason();
  tell(std::move(loss));
}

void CoordinatorFsm::abort_run(const Cause& cause) {
  phase_ = Phase::kAborting;
  end_deadline_ = now_ + options_.end_timeout;
  losses_.clear();
  starts_.clear();
  const std::string abort = encode(Abort{cause.code, cause.member, cause.text()});
  for (const MemberId& member : roster_.connected_but_agents()) {
    if (member != cause.member) send(member, FrameType::kAbort, abort);
  }
  for (const MemberId& agent : roster_.connected(Role::kAgent)) {
    send(agent, FrameType::kShutdown, encode(Shutdown{cause.run_exit_code()}));
  }
}

void CoordinatorFsm::close_run() {
  phase_ = Phase::kClosing;
  end_deadline_ = now_ + options_.end_timeout;
  for (const MemberId& agent : roster_.connected(Role::kAgent)) {
    send(agent, FrameType::kShutdown, encode(Shutdown{exit_code_}));
  }
}

bool CoordinatorFsm::everybody_answered() const {
  if (options_.agents > 0) {
    const auto agents = roster_.connected(Role::kAgent);
    return std::ranges::all_of(agents, [this](const MemberId& agent) { return roster_.at(agent).left; });
  }
  return phase_ == Phase::kClosing || roster_.connected_but_agents().empty();
}

}  // namespace tutti
