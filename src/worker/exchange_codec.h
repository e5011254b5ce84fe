// SPDX-License-Identifier: Apache-2.0
// An exchange whose float32 buckets travel as bfloat16 or float16: each bucket is narrowed when it starts and widened
// when its result is there. The exchange beneath adds in float32 over all ranks and rounds once, so a result differs
// from that of float32 by two roundings: of the inputs, and of the average.
#pragma once

#include <memory>

#include "worker/exchange.h"

namespace tutti::worker {

/// `wire` is kBFloat16 or kFloat16. REQUIRES: inner->traits().adds_in_float.
std::unique_ptr<Exchange> make_codec_exchange(std::unique_ptr<Exchange> inner, DType wire);

}  // namespace tutti::worker
