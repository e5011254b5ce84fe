// SPDX-License-Identifier: Apache-2.0
#include "ps/sum_threads.h"

#include <algorithm>

#include "common/assert.h"

namespace tutti::ps {

namespace {

constexpr std::size_t kPartBytesMin = 128 << 10;  // summing it takes several times as long as waking a thread

std::size_t part_bytes(std::size_t bytes, std::size_t unit, std::size_t parts) {
  const std::size_t even = (bytes + parts - 1) / parts;
  return (even + unit - 1) / unit * unit;
}

}  // namespace

int SumThreads::helpers_for(unsigned cores) noexcept {
  return cores < 4 ? 0 : static_cast<int>(std::min(cores / 4 - 1, static_cast<unsigned>(kHelpersMax)));
}

SumThreads::SumThreads(int helpers) {
  TUTTI_ASSERT(helpers <= kHelpersMax, "no more helpers than are of use");
  for (int index = 1; index <= helpers; ++index) {
    helpers_.emplace_back([this, index] { help(static_cast<std::size_t>(index)); });
  }
}

SumThreads::~SumThreads() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  begun_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void SumThreads::run(std::size_t bytes, std::size_t unit, const Work& work) {
  if (helpers_.empty() || bytes / (helpers_.size() + 1) < kPartBytesMin) return work(0, bytes);
  {
    const std::lock_guard lock(mutex_);
    work_ = &work;
    bytes_ = bytes;
    unit_ = unit;
    helping_ = helpers_.size();
    ++number_;
  }
  begun_.notify_all();
  do_part(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return helping_ == 0; });
}

// What run() has written under the lock stays as it is until every helper has said that it is done.
void SumThreads::help(std::size_t index) {
  std::unique_lock lock(mutex_);
  for (std::uint64_t seen = 0;; ++seen) {
    begun_.wait(lock, [&] { return ending_ || number_ != seen; });
    if (ending_) return;
    lock.unlock();
    do_part(index);
    lock.lock();
    if (--helping_ == 0) done_.notify_one();
  }
}

void SumThreads::do_part(std::size_t index) {
  const std::size_t step = part_bytes(bytes_, unit_, helpers_.size() + 1);
  const std::size_t offset = std::min(bytes_, index * step);
  if (offset < bytes_) (*work_)(offset, std::min(step, bytes_ - offset));
}

}  // namespace tutti::ps
