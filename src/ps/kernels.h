// SPDX-License-Identifier: Apache-2.0
// The loops that sum and convert, once for each kind of processor: plain ones, which every processor has and which say
// what the bits are, and vector ones, which give the same bits at the speed of memory. The best that this processor has
// is found out once. Which of two contributions that are both no number gives a float32 or float64 sum its payload is
// the one thing left open.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace tutti::ps {

/// Sums elements `begin` to `end` of `ranks` contributions, in their order, into each of `outputs` places. Plain
/// pointers, since an inline function of the standard library that a vector loop called would be compiled for that
/// loop's processor, and the linker might give it to everybody.
struct SumJob {
  const std::byte* const* from;
  std::size_t ranks;  ///< at least one
  std::byte* const* into;
  std::size_t outputs;  ///< at least one
  std::size_t begin;
  std::size_t end;
  std::size_t divisor = 1;  ///< of floating-point sums: one division, where it is not 1
  bool stops = false;       ///< in front of elements of which a floating-point result is not finite
};

struct Kernels {
  /// The first element that was not summed: `end`, or where the job stopped. All before it are summed and finite; the
  /// outputs from it on are as they were, and one of the next few elements has a result that is not finite.
  using Sum = std::size_t (*)(const SumJob& job);
  using Narrow = void (*)(const float* from, std::uint16_t* into, std::size_t count);
  using Widen = void (*)(const std::uint16_t* from, float* into, std::size_t count);

  Sum sum[kDTypeCount];  ///< by dtype
  Narrow narrow_to_bfloat16;
  Narrow narrow_to_float16;
  Widen widen_from_bfloat16;
  Widen widen_from_float16;
};

/// Those of the best level that this processor has.
const Kernels& kernels();

namespace kernels_detail {
// The levels, for the test that compares them; nullptr where this processor lacks the instructions.
const Kernels* plain();
const Kernels* avx2();
const Kernels* avx512();
}  // namespace kernels_detail

}  // namespace tutti::ps
