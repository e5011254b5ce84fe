// SPDX-License-Identifier: Apache-2.0
#include "common/host_layout.h"

#include "common/alignment.h"

namespace tutti {
namespace {

// Regions at equal places of their pages would share the sets of a cache: equal elements of all ranks are read at once.
constexpr std::uint64_t kSkew = 4 * kCacheLineBytes;

}  // namespace

HostLayout::HostLayout(std::span<const BucketSpec> buckets, std::uint32_t ranks, std::span<const std::uint64_t> spares)
    : ranks_(ranks) {
  std::uint64_t blocks = 0;
  for (const BucketSpec& bucket : buckets) {
    first_blocks_.push_back(blocks);
    blocks += block_count(bucket.bytes());
    starts_.push_back(region_bytes_);
    region_bytes_ += rounded_up(bucket.bytes(), kCacheLineBytes);
  }
  for (const std::uint64_t bytes : spares) {
    spares_.push_back(region_bytes_);
    region_bytes_ += rounded_up(bytes, kCacheLineBytes);
  }
  table_ = region_bytes_;
  region_bytes_ += rounded_up(spares.size() * sizeof(std::uint64_t), kCacheLineBytes);
  findings_ = region_bytes_;
  region_bytes_ += rounded_up(blocks * sizeof(std::uint32_t), kCacheLineBytes);
  region_bytes_ = rounded_up(region_bytes_, kPageBytes) + kSkew;
}

}  // namespace tutti
