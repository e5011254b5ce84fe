// SPDX-License-Identifier: Apache-2.0
#include "worker/birthplaces.h"

#include <algorithm>
#include <utility>

namespace tutti::worker {

Birthplaces::Birthplaces(const std::vector<Place>& places) {
  for (const auto& [memory, bytes] : places) {
    free_[bytes].push_back(memory);
    all_.push_back(memory.get());
  }
  std::sort(all_.begin(), all_.end());
  // The first is given out first: backward makes the gradients about in this order.
  for (auto& [bytes, pieces] : free_) std::reverse(pieces.begin(), pieces.end());
}

BucketMemory Birthplaces::take(std::uint64_t bytes) {
  if (!open_) return nullptr;
  const std::lock_guard lock(mutex_);
  const auto found = free_.find(bytes);
  if (found == free_.end() || found->second.empty()) return nullptr;
  BucketMemory memory = std::move(found->second.back());
  found->second.pop_back();
  return memory;
}

void Birthplaces::give_back(BucketMemory memory, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  free_[bytes].push_back(std::move(memory));
}

bool Birthplaces::contains(const void* address) const {
  return std::binary_search(all_.begin(), all_.end(), address);
}

}  // namespace tutti::worker
