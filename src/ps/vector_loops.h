// SPDX-License-Identifier: Apache-2.0
// The vector loops, written once and compiled for each kind of processor: so their names belong to the source that
// includes this. It defines TUTTI_VECTOR first, the attribute that lets a function use its processor's instructions,
// and gives the loops its kinds of vectors:
//   Stored, Vector, kLanes   what lies in memory, what it is added in, how many elements that has
//   load, store              a vector's elements, which need no alignment
//   spread                   the same number in every element
//   add, multiply, divide
//   all_below                whether the magnitudes of kVectors vectors are: not where one is no number
//   kBeyond                  the least magnitude that is stored as infinity
//   Wide                     the kind with the same Vector whose elements lie in memory as they are added
// Thread safety: functions without state.
#pragma once

#include <cstddef>

#include "ps/kernels.h"

#ifndef TUTTI_VECTOR
#define TUTTI_VECTOR  // a reader that has no kinds of vectors: the instructions of the build
#endif
#define TUTTI_VECTOR_INLINE TUTTI_VECTOR __attribute__((always_inline)) inline

namespace tutti::ps::kernels_detail {
namespace {

/// How a sum becomes an average: both ways have the same bits where the divisor is a power of two.
enum class Scaling { kNone, kMultiply, kDivide };

inline Scaling scaling_of(const SumJob& job) noexcept {
  if (job.divisor == 1) return Scaling::kNone;
  return (job.divisor & (job.divisor - 1)) == 0 ? Scaling::kMultiply : Scaling::kDivide;
}

// Vectors that are summed at once: enough to hide how long an addition takes, and whole lines of the cache.
constexpr std::size_t kVectors = 4;
// Ranks that are summed at once. Blocks often lie whole pages apart, so that their lines share a set of the first-level
// cache, and that has no more than eight places.
constexpr std::size_t kRanks = 8;
// The part of the sum that waits for the next ranks stays in the first-level cache.
constexpr std::size_t kBlockBytes = 16u << 10;

template <class Kind>
TUTTI_VECTOR_INLINE void load(const typename Kind::Stored* from, typename Kind::Vector (&sums)[kVectors]) {
  for (std::size_t v = 0; v < kVectors; ++v) sums[v] = Kind::load(from + v * Kind::kLanes);
}
template <class Kind>
TUTTI_VECTOR_INLINE void add(const typename Kind::Stored* from, typename Kind::Vector (&sums)[kVectors]) {
  for (std::size_t v = 0; v < kVectors; ++v) sums[v] = Kind::add(sums[v], Kind::load(from + v * Kind::kLanes));
}
template <class Kind>
TUTTI_VECTOR_INLINE void store(const typename Kind::Vector (&sums)[kVectors], typename Kind::Stored* into) {
  for (std::size_t v = 0; v < kVectors; ++v) Kind::store(into + v * Kind::kLanes, sums[v]);
}
template <class Kind>
TUTTI_VECTOR_INLINE void average(typename Kind::Vector (&sums)[kVectors], Scaling scaling,
                                 typename Kind::Vector scale) {
  if (scaling == Scaling::kMultiply) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[v] = Kind::multiply(sums[v], scale);
  } else if (scaling == Scaling::kDivide) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[v] = Kind::divide(sums[v], scale);
  }
}

template <class Stored>
TUTTI_VECTOR_INLINE const Stored* input(const SumJob& job, std::size_t rank, std::size_t offset) {
  return reinterpret_cast<const Stored*>(job.from[rank]) + offset;
}
template <class Stored>
TUTTI_VECTOR_INLINE Stored* output(const SumJob& job, std::size_t place, std::size_t offset) {
  return reinterpret_cast<Stored*>(job.into[place]) + offset;
}

/// What a job computes with, in every element of a vector.
template <class Kind>
struct Constants {
  Scaling scaling;
  typename Kind::Vector scale, beyond;
};

/// Elements of which the sum stays in registers. False: the job stops in front of them.
template <class Kind>
TUTTI_VECTOR_INLINE bool sum_step(const SumJob& job, std::size_t offset, const Constants<Kind>& with) {
  using Stored = typename Kind::Stored;
  typename Kind::Vector sums[kVectors];
  load<Kind>(input<Stored>(job, 0, offset), sums);
  for (std::size_t rank = 1; rank < job.ranks; ++rank) add<Kind>(input<Stored>(job, rank, offset), sums);
  average<Kind>(sums, with.scaling, with.scale);
  if (job.stops && !Kind::all_below(sums, with.beyond)) return false;
  for (std::size_t place = 0; place < job.outputs; ++place) store<Kind>(sums, output<Stored>(job, place, offset));
  return true;
}

/// A block of more than kRanks ranks, some at a time. How many of its elements came before the job stopped.
template <class Kind>
TUTTI_VECTOR_INLINE std::size_t sum_block(const SumJob& job, std::size_t begin, std::size_t count,
                                          const Constants<Kind>& with) {
  using Stored = typename Kind::Stored;
  using Wide = typename Kind::Wide;
  alignas(64) typename Wide::Stored so_far[kBlockBytes / sizeof(typename Wide::Stored)];
  std::size_t summed = count;
  for (std::size_t first = 0; first < job.ranks; first += kRanks) {
    const bool is_last = job.ranks - first <= kRanks;
    const std::size_t last = is_last ? job.ranks : first + kRanks;
    for (std::size_t i = 0; i < count; i += kVectors * Kind::kLanes) {
      typename Kind::Vector sums[kVectors];
      if (first == 0) {
        load<Kind>(input<Stored>(job, 0, begin + i), sums);
      } else {
        load<Wide>(so_far + i, sums);
      }
      for (std::size_t rank = first == 0 ? 1 : first; rank < last; ++rank) {
        add<Kind>(input<Stored>(job, rank, begin + i), sums);
      }
      if (is_last) {
        average<Kind>(sums, with.scaling, with.scale);
        if (job.stops && !Kind::all_below(sums, with.beyond)) {
          summed = i;
          break;
        }
        store<Kind>(sums, output<Stored>(job, 0, begin + i));
      } else {
        store<Wide>(sums, so_far + i);
      }
    }
  }
  for (std::size_t place = 1; place < job.outputs; ++place) {
    __builtin_memcpy(output<Stored>(job, place, begin), output<Stored>(job, 0, begin), summed * sizeof(Stored));
  }
  return summed;
}

/// One pass: every contribution is read once and every output written once. The plain loop does what is left.
template <class Kind, DType dtype>
TUTTI_VECTOR std::size_t sum(const SumJob& job) {
  constexpr std::size_t step = kVectors * Kind::kLanes;
  constexpr std::size_t block = kBlockBytes / sizeof(typename Kind::Wide::Stored);
  const Scaling scaling = scaling_of(job);
  const auto divisor = static_cast<typename Kind::Wide::Stored>(job.divisor);
  const Constants<Kind> with{scaling, Kind::spread(scaling == Scaling::kMultiply ? 1 / divisor : divisor),
                             Kind::spread(Kind::kBeyond)};
  SumJob rest = job;
  if (job.ranks <= kRanks) {
    for (; job.end - rest.begin >= step; rest.begin += step) {
      if (!sum_step<Kind>(job, rest.begin, with)) return rest.begin;
    }
  } else {
    while (job.end - rest.begin >= step) {
      const std::size_t left = (job.end - rest.begin) / step * step;
      const std::size_t count = left < block ? left : block;
      const std::size_t summed = sum_block<Kind>(job, rest.begin, count, with);
      rest.begin += summed;
      if (summed < count) return rest.begin;
    }
  }
  return plain()->sum[static_cast<std::size_t>(dtype)](rest);
}

template <class Kind, Kernels::Narrow Kernels::*rest>
TUTTI_VECTOR void narrow(const float* from, std::uint16_t* into, std::size_t count) {
  std::size_t i = 0;
  for (; count - i >= Kind::kLanes; i += Kind::kLanes) Kind::store(into + i, Kind::Wide::load(from + i));
  (plain()->*rest)(from + i, into + i, count - i);
}
template <class Kind, Kernels::Widen Kernels::*rest>
TUTTI_VECTOR void widen(const std::uint16_t* from, float* into, std::size_t count) {
  std::size_t i = 0;
  for (; count - i >= Kind::kLanes; i += Kind::kLanes) Kind::Wide::store(into + i, Kind::load(from + i));
  (plain()->*rest)(from + i, into + i, count - i);
}

/// The plain table with the loops above in it.
template <class Float32, class Float64, class BFloat16, class Float16>
Kernels vector_kernels() {
  Kernels table = *plain();
  table.sum[static_cast<std::size_t>(DType::kFloat32)] = sum<Float32, DType::kFloat32>;
  table.sum[static_cast<std::size_t>(DType::kFloat64)] = sum<Float64, DType::kFloat64>;
  table.sum[static_cast<std::size_t>(DType::kBFloat16)] = sum<BFloat16, DType::kBFloat16>;
  table.sum[static_cast<std::size_t>(DType::kFloat16)] = sum<Float16, DType::kFloat16>;
  table.narrow_to_bfloat16 = narrow<BFloat16, &Kernels::narrow_to_bfloat16>;
  table.narrow_to_float16 = narrow<Float16, &Kernels::narrow_to_float16>;
  table.widen_from_bfloat16 = widen<BFloat16, &Kernels::widen_from_bfloat16>;
  table.widen_from_float16 = widen<Float16, &Kernels::widen_from_float16>;
  return table;
}

}  // namespace
}  // namespace tutti::ps::kernels_detail
