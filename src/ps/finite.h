// SPDX-License-Identifier: Apache-2.0
// Whether every number of a contribution is one: no NaN, no infinity. A pass over bytes that somebody has just written,
// at the speed of the cache that they lie in.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <optional>

#include "common/dtype.h"

namespace tutti::ps {

/// Integers and booleans are always finite.
bool all_finite(DType dtype, const std::byte* at, std::size_t elements);
/// Which element is the first that is not.
std::optional<std::size_t> first_not_finite(DType dtype, const std::byte* at, std::size_t elements);

namespace finite_detail {
using AllFinite = bool (*)(DType dtype, const std::byte* at, std::size_t elements);
// The levels, for the test that compares them; nullptr where this processor lacks the instructions (wider
// vectors than these wait for the same memory).
AllFinite plain();
AllFinite avx2();
}  // namespace finite_detail

}  // namespace tutti::ps
