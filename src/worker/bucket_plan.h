// SPDX-License-Identifier: Apache-2.0
// Which parameter lies where in which bucket. Parameters are taken in the order in which backward finishes them: the
// reverse of their own at first, then the one that was measured. A bucket holds one dtype on one device. The first
// bucket is small, so that the exchange starts early, and so is the last, since nothing hides what comes after
// backward. Thread safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"

namespace tutti::worker {

struct PlannedParameter {
  std::string name;
  DType dtype = DType::kFloat32;
  int device = -1;  ///< -1: CPU; otherwise the index of the GPU
  std::uint64_t elements = 0;
};

struct BucketEntry {
  std::uint32_t parameter = 0;  ///< index into the list that the plan was made from
  std::uint64_t offset = 0;     ///< elements from the bucket's start; on a boundary of 64 bytes
  std::uint64_t elements = 0;
};

struct Bucket {
  DType dtype = DType::kFloat32;
  int device = -1;
  std::uint64_t elements = 0;        ///< with the padding between entries
  std::vector<BucketEntry> entries;  ///< in the order in which they are expected to be ready
};

struct BucketLimits {
  std::uint64_t bytes_max = 8u << 20;
  std::uint64_t bytes_edge = 1u << 20;  ///< of the first and of the last bucket
};

/// The order to begin with: the last parameter is ready first.
std::vector<std::uint32_t> reverse_order(std::size_t parameters);
/// Whether it holds each parameter's index once.
bool is_order_of(std::vector<std::uint32_t> order, std::size_t parameters);

/// Every parameter is in exactly one bucket; buckets are in the order in which they are expected to be full. A
/// parameter above the limit has a bucket of its own. REQUIRES: `ready_order` holds each parameter's index once.
std::vector<Bucket> plan_buckets(const std::vector<PlannedParameter>& parameters,
                                 const std::vector<std::uint32_t>& ready_order, const BucketLimits& limits);

/// Whose gradient holds the element of the bucket; of the padding behind it, too.
std::uint32_t parameter_at(const Bucket& bucket, std::uint64_t element);

}  // namespace tutti::worker
