// SPDX-License-Identifier: Apache-2.0
#include "common/control/gather_table.h"

#include <algorithm>
#include <utility>

namespace tutti {

std::optional<GatherTable::Complete> GatherTable::contribute(const Waiter& waiter, std::string bytes) {
  const auto rank = static_cast<std::size_t>(waiter.rank);
  const auto position = static_cast<std::size_t>(given_[rank]++ - completed_);
  if (position == open_.size()) open_.push_back({std::vector<std::optional<std::string>>(given_.size()), {}, 0});
  Gather& gather = open_[position];
  gather.contributions[rank] = std::move(bytes);
  gather.waiters.push_back(waiter);
  if (++gather.count < given_.size()) return std::nullopt;

  Complete complete;
  complete.waiters = std::move(gather.waiters);
  for (auto& contribution : gather.contributions) complete.contributions.push_back(*std::move(contribution));
  open_.pop_front();
  ++completed_;
  return complete;
}

std::vector<GatherTable::Late> GatherTable::expire(TimePoint now) {
  std::vector<Late> late;
  for (Gather& gather : open_) {
    std::vector<std::int32_t> missing;
    for (std::size_t rank = 0; rank < gather.contributions.size(); ++rank) {
      if (!gather.contributions[rank]) missing.push_back(static_cast<std::int32_t>(rank));
    }
    std::erase_if(gather.waiters, [&](const Waiter& waiter) {
      if (waiter.deadline > now) return false;
      late.push_back({waiter, missing});
      return true;
    });
  }
  return late;
}

std::optional<TimePoint> GatherTable::next_deadline() const {
  std::optional<TimePoint> next;
  for (const Gather& gather : open_) {
    for (const Waiter& waiter : gather.waiters) next = std::min(next.value_or(waiter.deadline), waiter.deadline);
  }
  return next;
}

}  // namespace tutti
