// SPDX-License-Identifier: Apache-2.0
// What a training thread waits for while a loop works: counts of things under way, by key, and one failure that ends
// every wait.
// Thread safety: any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/result.h"

namespace tutti::ps {

class Pending {
 public:
  using Key = std::uint64_t;

  /// `count` more things are under way. Fails, and counts nothing, once there was a failure.
  Result<> begin(Key key, int count = 1);
  /// One more of both.
  Result<> begin_both(Key key, Key other);
  /// Whatever was under way, from here on these are.
  void begin_anew(Key key, int count);
  bool is_under_way(Key key) const;
  /// One of them is done. REQUIRES: it was begun.
  void end(Key key);
  /// Ends every wait, now and later. The first failure stays, but for a kSuperseded, which gives way to any other.
  void fail(const Failure& why) noexcept;
  /// Takes a kSuperseded back: what was under way still is. Another failure is returned, and stays.
  Result<> resume();

  /// True when nothing of `key` is under way, false when the deadline passed before.
  Result<bool> wait(Key key, Deadline deadline);
  Result<> poll() const;

  /// A sentence on what `key` is waiting for, for the message of a timeout.
  void set_note(Key key, std::string note);
  std::string note(Key key) const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, int> counts_;         // guarded by mutex_
  std::map<Key, std::string> notes_;  // guarded by mutex_
  std::optional<Failure> failure_;    // guarded by mutex_
};

}  // namespace tutti::ps
