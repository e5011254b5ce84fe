// SPDX-License-Identifier: Apache-2.0
// What a shard's sum must equal bit for bit: the plain loop over elements, written without regard to speed and with its
// own 16-bit formats. Two wrong loops beside it show that the data of a test can tell them apart.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

#include "common/dtype.h"

namespace tutti::ps {

using Bytes = std::vector<std::byte>;

enum class SumLoop { kRankOrder, kReversedOrder, kReciprocal };

/// Numbers of very different magnitudes, some of them -0.0: sums of them depend on their order.
Bytes random_bytes(DType dtype, std::size_t elements, std::mt19937& random);

Bytes reference_reduce(DType dtype, Reduction reduction, const std::vector<Bytes>& contributions,
                       SumLoop loop = SumLoop::kRankOrder);

}  // namespace tutti::ps
