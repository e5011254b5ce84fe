// SPDX-License-Identifier: Apache-2.0
// Pieces of an exchange's memory in which gradients are born, so that they need not be copied there: LibTorch asks for
// memory of a gradient's size and is given one that is free. Which one is left to chance: the exchange is told where
// each gradient came to lie.
// Thread safety: any thread, since a tensor dies on any.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "worker/exchange.h"

namespace tutti::worker {

class Birthplaces {
 public:
  /// Smaller gradients are copied in less time than it takes to look for a place.
  static constexpr std::uint64_t kBytesMin = 256u << 10;

  struct Place {
    BucketMemory memory;
    std::uint64_t bytes = 0;
  };
  explicit Birthplaces(const std::vector<Place>& places);

  /// Only while a backward is on its way are there pieces to take: what a program allocates in between stays for long.
  void open() noexcept { open_ = true; }
  void close() noexcept { open_ = false; }
  /// A free piece of exactly this size; null where there is none. It stays valid while it is held, also longer than
  /// this object.
  BucketMemory take(std::uint64_t bytes);
  void give_back(BucketMemory memory, std::uint64_t bytes);
  /// Whether the address is that of one of the pieces.
  bool contains(const void* address) const;

 private:
  std::atomic<bool> open_ = false;
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::vector<BucketMemory>> free_;  // by size; guarded by mutex_
  std::vector<const void*> all_;                             // sorted
};

}  // namespace tutti::worker
