// SPDX-License-Identifier: Apache-2.0
#include "ps/pending.h"

#include <utility>

#include "common/assert.h"

namespace tutti::ps {

Result<> Pending::begin(Key key, int count) {
  const std::lock_guard lock(mutex_);
  if (failure_) return *failure_;
  if (counts_[key] == 0) notes_.erase(key);
  counts_[key] += count;
  return {};
}

void Pending::end(Key key) {
  const std::lock_guard lock(mutex_);
  TUTTI_ASSERT(counts_[key] > 0, "what ends was begun");
  if (--counts_[key] == 0) changed_.notify_all();
}

void Pending::fail(const Failure& why) noexcept {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = why;
  changed_.notify_all();
}

Result<bool> Pending::wait(Key key, Deadline deadline) {
  std::unique_lock lock(mutex_);
  const bool ended = changed_.wait_until(lock, deadline, [&] { return failure_ || counts_[key] == 0; });
  if (failure_) return *failure_;
  return ended;
}

Result<> Pending::poll() const {
  const std::lock_guard lock(mutex_);
  if (failure_) return *failure_;
  return {};
}

void Pending::set_note(Key key, std::string note) {
  const std::lock_guard lock(mutex_);
  notes_[key] = std::move(note);
}

std::string Pending::note(Key key) const {
  const std::lock_guard lock(mutex_);
  const auto found = notes_.find(key);
  return found == notes_.end() ? std::string() : found->second;
}

}  // namespace tutti::ps
