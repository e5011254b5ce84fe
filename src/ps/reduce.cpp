// SPDX-License-Identifier: Apache-2.0
#include "ps/reduce.h"

#include <string>

#include "common/assert.h"
#include "ps/kernels.h"

namespace tutti::ps {

bool can_reduce(DType dtype, Reduction reduction) noexcept {
  return is_floating(dtype) || reduction != Reduction::kAverage;
}

Result<> check_reducible(std::span<const BucketSpec> buckets) {
  for (const BucketSpec& bucket : buckets) {
    if (can_reduce(bucket.dtype, bucket.reduction)) continue;
    return fail(Errc::kUsage, "a bucket of " + std::string(name_of(bucket.dtype)) + " has no average");
  }
  return {};
}

namespace {

SumJob job_of(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
              std::span<std::byte* const> into, std::size_t bytes) {
  TUTTI_ASSERT(can_reduce(dtype, reduction) && reduction != Reduction::kBroadcast, "the table was checked");
  TUTTI_ASSERT(!contributions.empty() && !into.empty(), "a sum has something to add and a place to go to");
  return {.from = contributions.data(),
          .ranks = contributions.size(),
          .into = into.data(),
          .outputs = into.size(),
          .begin = 0,
          .end = bytes / size_of(dtype),
          .divisor = reduction == Reduction::kAverage ? contributions.size() : 1};
}

}  // namespace

void reduce_to_all(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                   std::span<std::byte* const> into, std::size_t bytes) {
  kernels().sum[static_cast<std::size_t>(dtype)](job_of(dtype, reduction, contributions, into, bytes));
}

void reduce(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
            std::span<std::byte> into) {
  std::byte* const place = into.data();
  reduce_to_all(dtype, reduction, contributions, {&place, 1}, into.size());
}

std::size_t reduce_to_all_while_finite(DType dtype, Reduction reduction,
                                       std::span<const std::byte* const> contributions,
                                       std::span<std::byte* const> into, std::size_t bytes) {
  SumJob job = job_of(dtype, reduction, contributions, into, bytes);
  job.stops = true;
  return kernels().sum[static_cast<std::size_t>(dtype)](job);
}

std::size_t reduce_while_finite(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                                std::span<std::byte> into) {
  std::byte* const place = into.data();
  return reduce_to_all_while_finite(dtype, reduction, contributions, {&place, 1}, into.size());
}

void divide(DType dtype, std::span<std::byte> elements, std::size_t by) noexcept {
  TUTTI_ASSERT(is_floating(dtype), "the table was checked");
  // The sum of one contribution, where it lies.
  std::byte* const place = elements.data();
  const std::byte* const contribution = place;
  const SumJob job{.from = &contribution,
                   .ranks = 1,
                   .into = &place,
                   .outputs = 1,
                   .begin = 0,
                   .end = elements.size() / size_of(dtype),
                   .divisor = by};
  kernels().sum[static_cast<std::size_t>(dtype)](job);
}

}  // namespace tutti::ps
