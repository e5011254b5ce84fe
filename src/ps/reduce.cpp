// SPDX-License-Identifier: Apache-2.0
#include "ps/reduce.h"

#include "common/assert.h"
#include "ps/kernels.h"

namespace tutti::ps {

bool can_reduce(DType dtype, Reduction reduction) noexcept {
  return is_floating(dtype) || reduction != Reduction::kAverage;
}

void reduce_to_all(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
                   std::span<std::byte* const> into, std::size_t bytes) {
  TUTTI_ASSERT(can_reduce(dtype, reduction) && reduction != Reduction::kBroadcast, "the table was checked");
  TUTTI_ASSERT(!contributions.empty() && !into.empty(), "a sum has something to add and a place to go to");
  const SumJob job{.from = contributions.data(),
                   .ranks = contributions.size(),
                   .into = into.data(),
                   .outputs = into.size(),
                   .begin = 0,
                   .end = bytes / size_of(dtype),
                   .average = reduction == Reduction::kAverage};
  kernels().sum[static_cast<std::size_t>(dtype)](job);
}

void reduce(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
            std::span<std::byte> into) {
  std::byte* const place = into.data();
  reduce_to_all(dtype, reduction, contributions, {&place, 1}, into.size());
}

}  // namespace tutti::ps
