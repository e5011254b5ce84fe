// SPDX-License-Identifier: Apache-2.0
// Who is cut off from its peers, judged from what workers and shards tell of each other. What one of them says is
// hearsay: of two that do not reach each other either may be the guilty one. So each that a broken pair names is
// weighed by the part of its peers that it does not reach: a worker by the shards, a shard by the workers. The one that
// reaches the smallest part of them is cut off; of equals the one that more peers miss, then the one that the
// coordinator does not hear either, then the one that is accused and accuses nobody. Sans-I/O. Thread safety: owned by
// one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/control/messages.h"

namespace tutti {

class Reachability {
 public:
  struct Finding {
    MemberId member;
    std::set<MemberId> peers;  ///< that it does not reach
    Duration time{};           ///< for so long
  };

  /// `timeout`: hearsay that is not told again within half of it counts no more.
  explicit Reachability(Duration timeout) : timeout_(timeout) {}

  void told(const MemberId& by, const Unreachable& message, TimePoint now);
  /// What was told of an older generation says nothing of this one.
  void begin_generation() { told_.clear(); }
  /// Who is cut off, once a pair has not reached each other for `longer_than`. `is_absent`: the coordinator does not
  /// hear the member.
  std::optional<Finding> judge(TimePoint now, int workers, int servers, Duration longer_than,
                               const std::function<bool(const MemberId&)>& is_absent) const;

 private:
  struct Told {
    Duration silent{};
    TimePoint at{};
  };
  struct Suspect {
    Finding finding;
    bool accuses = false;
  };
  using Suspects = std::map<MemberId, Suspect>;
  Suspects suspects(TimePoint now) const;

  const Duration timeout_;
  std::map<std::pair<MemberId, MemberId>, Told> told_;  // by the first of the second
};

}  // namespace tutti
