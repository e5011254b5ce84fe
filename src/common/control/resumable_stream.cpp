// SPDX-License-Identifier: Apache-2.0
#include "common/control/resumable_stream.h"

#include <algorithm>

namespace tutti {

void ResumableStream::sent(const FrameHeader& header, const std::string& control) {
  kept_.push_back({header, control});
  kept_bytes_ += kFrameHeaderBytes + control.size();
  while (kept_bytes_ > kKeptBytesMax) forget_before(first_ + 1);
}

void ResumableStream::acknowledged(std::uint64_t on_connection) {
  const std::uint64_t count = base_ + std::max<std::uint64_t>(on_connection, 1) - 1;
  if (reaches(count)) forget_before(count);
}

bool ResumableStream::reaches(std::uint64_t count) const noexcept {
  return first_ <= count && count <= first_ + kept_.size();
}

const std::deque<ResumableStream::Frame>& ResumableStream::resume(std::uint64_t count) {
  forget_before(count);
  base_ = count;
  return kept_;
}

void ResumableStream::forget_before(std::uint64_t count) {
  for (; first_ < count && !kept_.empty(); ++first_) {
    kept_bytes_ -= kFrameHeaderBytes + kept_.front().control.size();
    kept_.pop_front();
  }
}

}  // namespace tutti
