// SPDX-License-Identifier: Apache-2.0
// Keeps every pass that a meter is told of, to be counted by kind and by the memory it was over.
// Thread safety: any thread.
#pragma once

#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

#include "common/copy_meter.h"

namespace tutti::ps {

class ByteCounts final : public CopyMeter {
 public:
  void count(BytePass pass, const std::byte* at, std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    if (bytes != 0) passes_.push_back({pass, {at, bytes}});
  }

  std::size_t all(BytePass pass) const {
    return sum(pass, [](auto) { return true; });
  }
  /// Over bytes that lie in `memory`.
  std::size_t in(std::span<const std::byte> memory, BytePass pass) const {
    return sum(pass, [&](std::span<const std::byte> bytes) {
      return bytes.data() >= memory.data() && bytes.data() + bytes.size() <= memory.data() + memory.size();
    });
  }

 private:
  struct Seen {
    BytePass pass;
    std::span<const std::byte> bytes;
  };
  template <class Condition>
  std::size_t sum(BytePass pass, Condition holds) const {
    const std::lock_guard lock(mutex_);
    std::size_t total = 0;
    for (const Seen& seen : passes_) total += seen.pass == pass && holds(seen.bytes) ? seen.bytes.size() : 0;
    return total;
  }

  mutable std::mutex mutex_;
  std::vector<Seen> passes_;  // guarded by mutex_
};

}  // namespace tutti::ps
