// SPDX-License-Identifier: Apache-2.0
// What follows from who is silent, stuck or slow: a line for the user, and for those that are lost what follows from
// any other loss, after their agent has ended them.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/control/coordinator_fsm.h"

namespace tutti {
Result<> CoordinatorFsm::on_heartbeat(const MemberId& from, Heartbeat message) {
  for (const ChildBeat& beat : message.children) {
    Roster::Entry* entry = roster_.find(beat.member);
    if (entry && beat.member.role != Role::kAgent) {
      if (entry->joined) entry->step = std::max(entry->step, beat.step);
      continue;
    }
    return fail(Errc::kProtocol,
                describe(from) + " tells how " + describe(beat.member) + " is, which is not part of this run");
  }
  liveness_.heard(from, message, now_);
  send(from, FrameType::kLease, encode(Lease{message.sent_ns}));
  judge();
  evict_the_late();
  return {};
}

void CoordinatorFsm::judge() {
  for (const Liveness::Finding& finding : liveness_.judge(now_)) {
    if (phase_ == Phase::kRunning) act_on(finding);
  }
  judge_reachability(options_.timeout);
}

void CoordinatorFsm::act_on(const Liveness::Finding& finding) {
  using Kind = Liveness::Finding::Kind;
  const Roster::Entry& entry = roster_.at(finding.member);
  const bool is_gone = (entry.joined && !entry.connected) || entry.left || entry.exited;
  if (is_gone || losses_.contains(finding.member) || restarting_) return;
  const std::string name = describe(finding.member) + (entry.host.empty() ? "" : " on " + entry.host);
  const std::string place = finding.member.role == Role::kWorker ? fmt::format(" (at step {})", entry.step) : "";
  switch (finding.kind) {
    case Kind::kQuiet:
      return notice(
          about(What::kQuiet, finding.member,
                fmt::format("{} has not been heard of for {:.1f} s{}", name, to_seconds(finding.time), place)));
    case Kind::kSlow:
      return notice(about(What::kSlow, finding.member,
                          fmt::format("{} is slow: the others waited {:.3g} s of each step of {:.3g} s for it{}", name,
                                      to_seconds(finding.time), to_seconds(finding.step), place)));
    case Kind::kDead:
      return condemn(finding.member, fmt::format("it has not been heard of for {:.1f} s", to_seconds(finding.time)),
                     Cause::Judged::kSilent);
    case Kind::kStuck:
      return condemn(
          finding.member,
          fmt::format("it makes no progress, and the others have waited {:.1f} s for it", to_seconds(finding.time)),
          Cause::Judged::kStuck);
  }
}

// The process may still be there: how its agent ends it adds nothing to the cause. Of an agent that is not heard of no
// answer is awaited either.
void CoordinatorFsm::condemn(const MemberId& who, std::string why, Cause::Judged judged) {
  Cause cause;
  cause.how = Cause::How::kLost;
  cause.judged = judged;
  cause.last_error = std::move(why);
  blame(who, std::move(cause), Certainty::kKnown);
  if (who.role == Role::kAgent) {
    roster_.at(who).connected = false;
    return;
  }
  roster_.at(who).reported = true;
  if (const auto loss = losses_.find(who); loss != losses_.end()) loss->second.due = now_;
}

}  // namespace tutti
