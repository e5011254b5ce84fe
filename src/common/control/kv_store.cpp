// SPDX-License-Identifier: Apache-2.0
#include "common/control/kv_store.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace tutti {

Result<std::vector<KvStore::Waiter>> KvStore::set(const std::string& key, std::string value, const MemberId& by) {
  const auto old = values_.find(key);
  const std::size_t freed = old == values_.end() ? 0 : key.size() + old->second.bytes.size();
  const std::size_t bytes = bytes_ - freed + key.size() + value.size();
  if (bytes > kBytesMax) return fail(Errc::kUsage, "the run's store is full: no room for key '" + key + "'");
  bytes_ = bytes;
  values_[key] = {std::move(value), by};
  auto node = waiters_.extract(key);
  return node ? std::move(node.mapped()) : std::vector<Waiter>();
}

const std::string* KvStore::find(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second.bytes;
}

Result<std::int64_t> KvStore::sum(const std::string& key, std::int64_t amount) const {
  std::int64_t number = 0;
  if (const std::string* value = find(key)) {
    const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), number);
    if (error != std::errc() || end != value->data() + value->size()) {
      return fail(Errc::kUsage, "cannot add to key '" + key + "': its value is not a number");
    }
  }
  // Wraps around instead of overflowing: the amounts come from the network.
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(number) + static_cast<std::uint64_t>(amount));
}

bool KvStore::contains(const std::vector<std::string>& keys) const {
  return std::ranges::all_of(keys, [&](const std::string& key) { return values_.contains(key); });
}

bool KvStore::erase(const std::string& key) {
  const auto found = values_.find(key);
  if (found == values_.end()) return false;
  bytes_ -= key.size() + found->second.bytes.size();
  values_.erase(found);
  return true;
}

void KvStore::forget(const MemberId& member) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : values_) {
    if (value.by == member) keys.push_back(key);
  }
  for (const std::string& key : keys) erase(key);
}

std::vector<KvStore::Late> KvStore::expire(TimePoint now) {
  std::vector<Late> late;
  for (auto& [key, waiters] : waiters_) {
    std::erase_if(waiters, [&](const Waiter& waiter) {
      if (waiter.deadline > now) return false;
      late.push_back({waiter, key});
      return true;
    });
  }
  std::erase_if(waiters_, [](const auto& entry) { return entry.second.empty(); });
  return late;
}

std::optional<TimePoint> KvStore::next_deadline() const {
  std::optional<TimePoint> next;
  for (const auto& [key, waiters] : waiters_) {
    for (const Waiter& waiter : waiters) next = std::min(next.value_or(waiter.deadline), waiter.deadline);
  }
  return next;
}

}  // namespace tutti
