// SPDX-License-Identifier: Apache-2.0
// The run's key-value store: what engines and ranks tell each other by name. A get waits until somebody set the key.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/control/cause.h"
#include "common/result.h"

namespace tutti {

class KvStore {
 public:
  struct Waiter {
    MemberId member;
    std::uint64_t request = 0;
    TimePoint deadline{};
  };
  struct Late {
    Waiter waiter;
    std::string key;
  };

  /// Keys and values together; a set beyond it is kUsage.
  static constexpr std::size_t kBytesMax = 256 << 20;

  /// Those who waited for the key.
  Result<std::vector<Waiter>> set(const std::string& key, std::string value, const MemberId& by);
  /// Null: not set.
  const std::string* find(const std::string& key) const;
  void wait(const std::string& key, const Waiter& waiter) { waiters_[key].push_back(waiter); }
  /// The sum of `amount` and the key's value, which is read as a decimal number (kUsage where it is none) and counts as
  /// 0 where it is not set. The caller sets it.
  Result<std::int64_t> sum(const std::string& key, std::int64_t amount) const;
  bool contains(const std::vector<std::string>& keys) const;
  bool erase(const std::string& key);
  /// What that member has set last is not true any more.
  void forget(const MemberId& member);

  /// A new generation: nobody waits any more.
  void forget_waiters() noexcept { waiters_.clear(); }
  /// Those whose deadline is at or before `now`; they wait no more.
  std::vector<Late> expire(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

 private:
  struct Value {
    std::string bytes;
    MemberId by;
  };

  std::map<std::string, Value> values_;
  std::map<std::string, std::vector<Waiter>> waiters_;
  std::size_t bytes_ = 0;
};

}  // namespace tutti
