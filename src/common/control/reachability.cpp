// SPDX-License-Identifier: Apache-2.0
#include "common/control/reachability.h"

#include <algorithm>
#include <tuple>

namespace tutti {

void Reachability::told(const MemberId& by, const Unreachable& message, TimePoint now) {
  std::erase_if(told_, [&](const auto& entry) { return entry.first.first == by; });
  for (const Unreachable::Peer& peer : message.peers) told_[{by, peer.member}] = {duration_of(peer.silent_ns), now};
}

Reachability::Suspects Reachability::suspects(TimePoint now) const {
  Suspects suspects;
  for (const auto& [pair, told] : told_) {
    if (now - told.at > timeout_ / 2) continue;
    const Duration silent = told.silent + (now - told.at);
    for (const auto& [who, other] : {pair, std::pair(pair.second, pair.first)}) {
      Finding& finding = suspects[who].finding;
      finding.member = who;
      finding.peers.insert(other);
      finding.time = std::max(finding.time, silent);
    }
    suspects[pair.first].accuses = true;
  }
  return suspects;
}

std::optional<Reachability::Finding> Reachability::judge(TimePoint now, int workers, int servers, Duration longer_than,
                                                         const std::function<bool(const MemberId&)>& is_absent) const {
  std::optional<Finding> worst;
  std::tuple<double, std::size_t, bool, bool> weight{};
  for (const auto& [who, suspect] : suspects(now)) {
    const std::size_t missed = suspect.finding.peers.size();
    const double part = static_cast<double>(missed) / (who.role == Role::kWorker ? servers : workers);
    const std::tuple own(part, missed, is_absent(who), !suspect.accuses);
    if (worst && own <= weight) continue;
    worst = suspect.finding;
    weight = own;
  }
  if (!worst || worst->time < longer_than) return std::nullopt;
  return worst;
}

}  // namespace tutti
