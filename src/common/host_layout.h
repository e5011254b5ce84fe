// SPDX-License-Identifier: Apache-2.0
// Where the buckets of one object lie in the memory that the ranks of a host share: a region for each local rank, in it
// one bucket after the other, then spare pieces, then a table of one number for each spare, then one of a word for each
// block. A bucket is cut into blocks, the unit of work on it. Everybody computes the same layout from the same buckets.
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

  HostLayout(std::span<const BucketSpec> buckets, std::uint32_t ranks, std::span<const std::uint64_t> spares = {});

  std::uint32_t ranks() const noexcept { return ranks_; }
  /// Bytes from the beginning of the segment's data; a multiple of 64.
  std::uint64_t offset(std::uint32_t rank, std::uint32_t bucket) const {
    return rank * region_bytes_ + starts_[bucket];
  }
  std::uint64_t spare(std::uint32_t rank, std::size_t index) const { return rank * region_bytes_ + spares_[index]; }
  std::uint64_t table(std::uint32_t rank) const { return rank * region_bytes_ + table_; }
  /// A word about the rank's input to a block (std::uint32_t).
  std::uint64_t finding(std::uint32_t rank, std::uint32_t bucket, std::uint32_t block) const {
    return rank * region_bytes_ + findings_ + (first_blocks_[bucket] + block) * sizeof(std::uint32_t);
  }
  /// Of all ranks' regions.
  std::uint64_t data_bytes() const noexcept { return ranks_ * region_bytes_; }

 private:
  std::uint32_t ranks_;
  std::uint64_t region_bytes_ = 0;
  std::vector<std::uint64_t> starts_, spares_;  // of each bucket and spare piece within a region
  std::vector<std::uint64_t> first_blocks_;     // of each bucket, counted over all of them
  std::uint64_t table_ = 0, findings_ = 0;
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
