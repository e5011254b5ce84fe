// SPDX-License-Identifier: Apache-2.0
// The collectives' table: the k-th contribution of every rank belongs to gather k, which is complete when all ranks
// gave theirs. A rank that waits beyond its deadline is told who is missing; what it contributed stays.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"

namespace tutti {

class GatherTable {
 public:
  struct Waiter {
    std::int32_t rank = 0;
    std::uint64_t request = 0;
    TimePoint deadline{};
  };
  struct Complete {
    std::vector<Waiter> waiters;
    std::vector<std::string> contributions;  ///< in rank order
  };
  struct Late {
    Waiter waiter;
    std::vector<std::int32_t> missing;
  };

  explicit GatherTable(int ranks) : given_(static_cast<std::size_t>(ranks)) {}

  /// The gather that `bytes` completed, if any. REQUIRES: waiter.rank is one of the ranks.
  std::optional<Complete> contribute(const Waiter& waiter, std::string bytes);
  /// Those whose deadline is at or before `now`; they wait no more.
  std::vector<Late> expire(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

 private:
  struct Gather {
    std::vector<std::optional<std::string>> contributions;
    std::vector<Waiter> waiters;
    std::size_t count = 0;
  };

  std::vector<std::uint64_t> given_;  // contributions of each rank so far
  std::uint64_t completed_ = 0;  // gathers that are over: they complete in order, since each rank contributes in order
  std::deque<Gather> open_;
};

}  // namespace tutti
