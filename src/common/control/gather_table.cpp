// SPDX-License-Identifier: Apache-2.0
#include "common/control/gather_table.h"

#include <algorithm>
#include <utility>

namespace tutti {

std::optional<GatherTable::Complete> GatherTable::contribute(const GatherKey& key, const Waiter& waiter,
                                                             std::string bytes) {
  const auto found = gathers_.try_emplace(key).first;
  Gather& gather = found->second;
  gather.contributions.resize(ranks_);
  auto& contribution = gather.contributions[static_cast<std::size_t>(waiter.rank)];
  std::erase_if(gather.waiters, [&](const Waiter& earlier) { return earlier.rank == waiter.rank; });
  gather.waiters.push_back(waiter);
  if (!contribution) {
    gather.bytes += bytes.size();
    contribution = std::move(bytes);
    ++gather.count;
  }
  if (gather.count < ranks_) return std::nullopt;

  Complete complete;
  complete.waiters = std::exchange(gather.waiters, {});
  for (const auto& given : gather.contributions) complete.contributions.push_back(*given);
  keep(found);
  return complete;
}

void GatherTable::keep(std::map<GatherKey, Gather>::iterator gather) {
  if (!keeps_ || gather->first.kind == GatherKey::Kind::kRegroup) {
    gathers_.erase(gather);
    return;
  }
  kept_bytes_ += std::exchange(gather->second.bytes, 0);
  for (auto oldest = gathers_.begin(); kept_bytes_ > kKeptBytesMax && oldest != gathers_.end();) {
    if (oldest->second.count < ranks_) {
      ++oldest;
      continue;
    }
    for (const auto& given : oldest->second.contributions) kept_bytes_ -= given->size();
    oldest = gathers_.erase(oldest);
  }
}

std::vector<GatherTable::Late> GatherTable::expire(TimePoint now) {
  std::vector<Late> late;
  for (auto& [key, gather] : gathers_) {
    if (gather.waiters.empty()) continue;
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
  for (const auto& [key, gather] : gathers_) {
    for (const Waiter& waiter : gather.waiters) next = std::min(next.value_or(waiter.deadline), waiter.deadline);
  }
  return next;
}

void GatherTable::begin_generation() {
  std::erase_if(gathers_, [](const auto& entry) { return entry.first.kind == GatherKey::Kind::kRegroup; });
  for (auto& [key, gather] : gathers_) gather.waiters.clear();
}

void GatherTable::forget_before(std::uint64_t scope) {
  for (auto gather = gathers_.begin(); gather != gathers_.end();) {
    const GatherKey& key = gather->first;
    const bool is_past = key.kind == GatherKey::Kind::kCollective && key.scope > 0 && key.scope < scope;
    if (!is_past || gather->second.count < ranks_) {
      ++gather;
      continue;
    }
    for (const auto& given : gather->second.contributions) kept_bytes_ -= given->size();
    gather = gathers_.erase(gather);
  }
}

}  // namespace tutti
