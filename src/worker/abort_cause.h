// SPDX-License-Identifier: Apache-2.0
// Why the waits of an exchange are over, as Exchange::abort says it: the first cause stays, but a kSuperseded gives way
// to any other, and ends when the rank goes on. Thread safety: any thread.
#pragma once

#include <mutex>
#include <optional>

#include "common/result.h"

namespace tutti::worker {

class AbortCause {
 public:
  void set(const Failure& cause) {
    const std::lock_guard lock(mutex_);
    if (!cause_ || cause_->code == Errc::kSuperseded) cause_ = cause;
  }
  /// The cause, as a failure.
  Result<> check() const {
    const std::lock_guard lock(mutex_);
    if (cause_) return *cause_;
    return {};
  }
  /// Another generation begins. Errors: the cause, where it is another than that.
  Result<> go_on() {
    const std::lock_guard lock(mutex_);
    if (cause_ && cause_->code != Errc::kSuperseded) return *cause_;
    cause_.reset();
    return {};
  }

 private:
  mutable std::mutex mutex_;
  std::optional<Failure> cause_;  // guarded by mutex_
};

}  // namespace tutti::worker
