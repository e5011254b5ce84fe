// SPDX-License-Identifier: Apache-2.0
#include "common/host_layout.h"

namespace tutti {
namespace {

constexpr std::uint64_t kAlignment = 64, kPage = 4096;

std::uint64_t rounded_up(std::uint64_t bytes, std::uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

HostLayout::HostLayout(std::span<const BucketSpec> buckets, std::uint32_t ranks) : ranks_(ranks) {
  for (const BucketSpec& bucket : buckets) {
    starts_.push_back(region_bytes_);
    region_bytes_ += rounded_up(bucket.bytes(), kAlignment);
  }
  region_bytes_ = rounded_up(region_bytes_, kPage);
}

}  // namespace tutti
