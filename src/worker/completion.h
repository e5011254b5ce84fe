// SPDX-License-Identifier: Apache-2.0
// The end of something that the loop does and another thread waits for; the first end that is told counts.
// Thread safety: any thread.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/result.h"

namespace tutti::worker {

class Completion {
 public:
  void set(Result<> result) {
    const std::lock_guard lock(mutex_);
    if (!result_) result_ = std::move(result);
    changed_.notify_all();
  }
  /// kTimeout with `late` at the deadline.
  Result<> wait(Deadline deadline, const std::string& late) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [this] { return result_.has_value(); });
    return result_ ? *result_ : Result<>(fail(Errc::kTimeout, late));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Result<>> result_;  // guarded by mutex_
};

}  // namespace tutti::worker
