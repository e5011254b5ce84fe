// SPDX-License-Identifier: Apache-2.0
// Things that overlap, each on a lane of its own while it lasts, the lowest that is free.
// Thread safety: one thread.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "common/trace/timeline.h"

namespace tutti {

/// What has begun and not ended, by what it is.
template <class Key>
class OpenSlices {
 public:
  struct Open {
    Event begin;
    int lane = 0;
  };

  void begin(const Key& key, const Event& event) {
    const auto free = std::ranges::find(used_, false);
    const int lane = static_cast<int>(free - used_.begin());
    if (free == used_.end())
      used_.push_back(true);
    else
      *free = true;
    open_[key] = {event, lane};
  }
  bool contains(const Key& key) const { return open_.contains(key); }
  /// Nothing when it had not begun.
  std::optional<Open> end(const Key& key) {
    const auto found = open_.find(key);
    if (found == open_.end()) return std::nullopt;
    const Open ended = found->second;
    used_[static_cast<std::size_t>(ended.lane)] = false;
    open_.erase(found);
    return ended;
  }
  std::vector<Key> keys() const {
    std::vector<Key> keys;
    for (const auto& [key, open] : open_) keys.push_back(key);
    return keys;
  }

 private:
  std::map<Key, Open> open_;
  std::vector<bool> used_;  // by lane
};

}  // namespace tutti
