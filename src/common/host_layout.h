// SPDX-License-Identifier: Apache-2.0
// Where the buckets of one object lie in the memory that the ranks of a host share: a region for each local rank, in it
// one bucket after the other. A bucket is cut into blocks, the unit of work on it. Everybody computes the same layout
// from the same buckets.
// Thread safety: values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "common/dtype.h"
#include "common/segment.h"

namespace tutti {

class HostLayout {
 public:
  /// Small enough that a block of each of a few ranks stays in a core's second-level cache.
  static constexpr std::uint64_t kBlockBytes = 64u << 10;

  HostLayout(std::span<const BucketSpec> buckets, std::uint32_t ranks);

  std::uint32_t ranks() const noexcept { return ranks_; }
  /// Bytes from the beginning of the segment's data; a multiple of 64.
  std::uint64_t offset(std::uint32_t rank, std::uint32_t bucket) const {
    return rank * region_bytes_ + starts_[bucket];
  }
  /// Of all ranks' regions; a multiple of the page.
  std::uint64_t data_bytes() const noexcept { return ranks_ * region_bytes_; }

 private:
  std::uint32_t ranks_;
  std::uint64_t region_bytes_ = 0;
  std::vector<std::uint64_t> starts_;  // of each bucket within a region
};

/// How many blocks so many bytes are.
constexpr std::uint32_t block_count(std::uint64_t bytes) noexcept {
  return static_cast<std::uint32_t>((bytes + HostLayout::kBlockBytes - 1) / HostLayout::kBlockBytes);
}
/// One block of a bucket of `total` bytes.
struct BlockRange {
  BlockRange(std::uint32_t block, std::uint64_t total) noexcept
      : offset(block * HostLayout::kBlockBytes), bytes(std::min(HostLayout::kBlockBytes, total - offset)) {}
  std::uint64_t offset, bytes;
};

}  // namespace tutti
