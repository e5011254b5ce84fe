// SPDX-License-Identifier: Apache-2.0
// Who cannot be reached: by the coordinator, because a connection broke or has fallen silent, or by its peers. A broken
// connection is made again by whoever lives at its other end, and its place is kept until then, but not for ever. How a
// process ends its agent tells sooner.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "common/control/absence.h"
#include "common/control/coordinator_fsm.h"

namespace tutti {

bool CoordinatorFsm::may_come_again(const MemberId& who, const Failure& why) const {
  const Roster::Entry& entry = roster_.at(who);
  const bool is_cut = why.code == Errc::kPeerLost || why.code == Errc::kTimeout;
  const bool has_ended = entry.left || entry.exited || entry.reported;
  return options_.absence > Duration::zero() && options_.agents > 0 && phase_ == Phase::kRunning && is_cut &&
         entry.connected && !has_ended;
}

Result<> CoordinatorFsm::come_again(const MemberId& who, const FrameHeader& header) {
  const Roster::Entry* const entry = roster_.find(who);
  const bool is_given_up = losses_.contains(who) || (who.role == Role::kAgent && change_.gone.contains(who.rank));
  if (!entry || !entry->joined || !entry->connected || is_given_up) {
    return fail(Errc::kPeerLost, fmt::format("{} of generation {} was given up, and its place is another's",
                                             describe(who), header.generation));
  }
  absent_.erase(who);
  return {};
}

// Then it is the coordinator that is cut off: steps pause, and nobody's place is given away.
bool CoordinatorFsm::hears_nobody() const {
  const auto members = roster_.connected_but_agents();
  return members.size() > 1 && std::ranges::all_of(members, [this](const MemberId& who) { return is_absent(who); });
}

// An agent that is not heard of any more is judged by its heartbeats, and its children by what becomes of it. The first
// one lives in the coordinator's process.
TimePoint CoordinatorFsm::give_up_time(const MemberId& who) const {
  const Absence& absence = absent_.at(who);
  const TimePoint at_last = absence.heard + kCutOffTimeouts * options_.absence;
  if (who.role == Role::kAgent) return absence.is_silent || who.rank == 0 ? at_last : absence.heard + options_.patience;
  return hears_nobody() || is_absent(home_of(who)) ? at_last : absence.heard + options_.absence;
}

void CoordinatorFsm::give_up_the_absent() {
  if (phase_ != Phase::kRunning) return;
  std::vector<MemberId> late;
  for (const auto& [who, absence] : absent_) {
    if (now_ >= give_up_time(who)) late.push_back(who);
  }
  for (const MemberId& who : late) {
    const Absence absence = std::move(absent_.extract(who).mapped());
    roster_.at(who).connected = false;
    const double seconds = to_seconds(now_ - absence.heard);
    give_up(who, absence.is_silent
                     ? fmt::format("it has not been heard of for {:.1f} s", seconds)
                     : fmt::format("its connection to the coordinator was not made again for {:.1f} s: {}", seconds,
                                   absence.why));
  }
}

void CoordinatorFsm::give_up(const MemberId& who, std::string why) {
  if (losses_.contains(who) || restarting_ || phase_ != Phase::kRunning) return;
  condemn(who, std::move(why), Cause::Judged::kUnreachable);
}

Result<> CoordinatorFsm::on_unreachable(const MemberId& from, Unreachable message) {
  const Role others = from.role == Role::kWorker ? Role::kServer : Role::kWorker;
  for (const Unreachable::Peer& peer : message.peers) {
    if (peer.member.role == others && roster_.find(peer.member)) continue;
    return fail(Errc::kProtocol,
                describe(from) + " cannot reach " + describe(peer.member) + ", which is no peer of it");
  }
  reachability_.told(from, message, now_);
  judge_reachability(options_.timeout);
  return {};
}

void CoordinatorFsm::judge_reachability(Duration longer_than) {
  const auto finding = reachability_.judge(now_, options_.workers, options_.servers, longer_than,
                                           [this](const MemberId& who) { return is_absent(who); });
  if (!finding || options_.absence == Duration::zero()) return;
  std::vector<std::string> peers;
  for (const MemberId& peer : finding->peers) peers.push_back(describe(peer));
  give_up(finding->member, fmt::format("it and {} have not heard of each other for {:.1f} s", fmt::join(peers, ", "),
                                       to_seconds(finding->time)));
  evict_the_late();
}

}  // namespace tutti
