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

Result<> Pending::begin_both(Key key, Key other) {
  const std::lock_guard lock(mutex_);
  if (failure_) return *failure_;
  for (const Key one : {key, other}) {
    if (counts_[one]++ == 0) notes_.erase(one);
  }
  return {};
}

void Pending::begin_anew(Key key, int count) {
  const std::lock_guard lock(mutex_);
  counts_[key] = count;
}

bool Pending::is_under_way(Key key) const {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(key);
  return found != counts_.end() && found->second > 0;
}

void Pending::end(Key key) {
  const std::lock_guard lock(mutex_);
  TUTTI_ASSERT(counts_[key] > 0, "what ends was begun");
  if (--counts_[key] == 0) changed_.notify_all();
}

void Pending::fail(const Failure& why) noexcept {
  const std::lock_guard lock(mutex_);
  if (!failure_ || failure_->code == Errc::kSuperseded) failure_ = why;
  changed_.notify_all();
}

Result<> Pending::resume() {
  const std::lock_guard lock(mutex_);
  if (failure_ && failure_->code != Errc::kSuperseded) return *failure_;
  failure_.reset();
  return {};
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
