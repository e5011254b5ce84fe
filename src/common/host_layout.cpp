// SPDX-License-Identifier: Apache-2.0
#include "common/host_layout.h"

namespace tutti {
namespace {

constexpr std::uint64_t kAlignment = 64, kPage = 4096;
// Regions at equal places of their pages would share the sets of a cache: equal elements of all ranks are read at once.
constexpr std::uint64_t kSkew = 4 * kAlignment;

std::uint64_t rounded_up(std::uint64_t bytes, std::uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

HostLayout::HostLayout(std::span<const BucketSpec> buckets, std::uint32_t ranks, std::span<const std::uint64_t> spares)
    : ranks_(ranks) {
  std::uint64_t blocks = 0;
  for (const BucketSpec& bucket : buckets) {
    first_blocks_.push_back(blocks);
    blocks += block_count(bucket.bytes());
    starts_.push_back(region_bytes_);
    region_bytes_ += rounded_up(bucket.bytes(), kAlignment);
  }
  for (const std::uint64_t bytes : spares) {
    spares_.push_back(region_bytes_);
    region_bytes_ += rounded_up(bytes, kAlignment);
  }
  table_ = region_bytes_;
  region_bytes_ += rounded_up(spares.size() * sizeof(std::uint64_t), kAlignment);
  findings_ = region_bytes_;
  region_bytes_ += rounded_up(blocks * sizeof(std::uint32_t), kAlignment);
  region_bytes_ = rounded_up(region_bytes_, kPage) + kSkew;
}

}  // namespace tutti
