// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "ps/half.h"
#include "ps/kernels.h"

namespace tutti::ps::kernels_detail {
namespace {

// The block of the sum stays in the first-level cache while each rank's block passes by once.
constexpr std::size_t kBlockBytes = 16u << 10;

/// A kind of element: what is stored, what it is added in, and how.
template <class Number>
struct Plain {
  using Stored = Number;
  using Sum = Number;
  static constexpr Number kBeyond = std::numeric_limits<Number>::infinity();  // of integers: not used
  static Sum widen(Stored value) noexcept { return value; }
  static Stored narrow(Sum value) noexcept { return value; }
  static Sum add(Sum a, Sum b) noexcept { return static_cast<Sum>(a + b); }
};
struct Bool : Plain<std::uint8_t> {
  static Sum add(Sum a, Sum b) noexcept { return a | b; }
};
template <float (*from_stored)(std::uint16_t) noexcept, std::uint16_t (*to_stored)(float) noexcept, const float& beyond>
struct Half {
  using Stored = std::uint16_t;
  using Sum = float;
  static constexpr float kBeyond = beyond;
  static Sum widen(Stored value) noexcept { return from_stored(value); }
  static Stored narrow(Sum value) noexcept { return to_stored(value); }
  static Sum add(Sum a, Sum b) noexcept { return a + b; }
};
using BFloat16 = Half<float_from_bfloat16, bfloat16_from_float, kBFloat16Beyond>;
using Float16 = Half<float_from_float16, float16_from_float, kFloat16Beyond>;

template <class Kind>
void widen(const typename Kind::Stored* __restrict from, typename Kind::Sum* __restrict into, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) into[i] = Kind::widen(from[i]);
}
template <class Kind>
void narrow(const typename Kind::Sum* __restrict from, typename Kind::Stored* __restrict into, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) into[i] = Kind::narrow(from[i]);
}
template <class Kind>
void add_next(typename Kind::Sum* __restrict sum, const typename Kind::Stored* __restrict from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) sum[i] = Kind::add(sum[i], Kind::widen(from[i]));
}
template <class Sum>
void divide(Sum* sum, std::size_t count, Sum by) {
  for (std::size_t i = 0; i < count; ++i) sum[i] = sum[i] / by;
}
/// What is no number is below nothing.
template <class Kind>
bool stay_finite(const typename Kind::Sum* sum, std::size_t count) {
  bool all = true;
  for (std::size_t i = 0; i < count; ++i) all &= std::abs(sum[i]) < Kind::kBeyond;
  return all;
}

/// Whether the first place is that of a contribution that is still to be read when the sum has begun.
bool is_read_later(const SumJob& job) {
  for (std::size_t rank = 1; rank < job.ranks; ++rank) {
    if (job.from[rank] == job.into[0]) return true;
  }
  return false;
}

template <class Kind>
std::size_t sum(const SumJob& job) {
  using Stored = typename Kind::Stored;
  using Sum = typename Kind::Sum;
  constexpr std::size_t block = kBlockBytes / sizeof(Sum);
  alignas(64) Sum apart[block];
  const bool grows_in_place = std::is_same_v<Stored, Sum> && !is_read_later(job) && !job.stops;
  for (std::size_t begin = job.begin; begin < job.end; begin += block) {
    const std::size_t left = job.end - begin;
    const std::size_t count = left < block ? left : block;
    const Stored* const first = reinterpret_cast<const Stored*>(job.from[0]) + begin;
    Stored* const result = reinterpret_cast<Stored*>(job.into[0]) + begin;
    Sum* const sums = grows_in_place ? reinterpret_cast<Sum*>(result) : apart;
    if (static_cast<const void*>(first) != sums) widen<Kind>(first, sums, count);
    for (std::size_t rank = 1; rank < job.ranks; ++rank) {
      add_next<Kind>(sums, reinterpret_cast<const Stored*>(job.from[rank]) + begin, count);
    }
    if constexpr (std::is_floating_point_v<Sum>) {
      if (job.divisor != 1) divide(sums, count, static_cast<Sum>(job.divisor));
      if (job.stops && !stay_finite<Kind>(sums, count)) return begin;
    }
    if (!grows_in_place) narrow<Kind>(sums, result, count);
    for (std::size_t output = 1; output < job.outputs; ++output) {
      std::memcpy(reinterpret_cast<Stored*>(job.into[output]) + begin, result, count * sizeof(Stored));
    }
  }
  return job.end;
}

}  // namespace

const Kernels* plain() {
  // In the order of DType. Unsigned arithmetic has the same bits as signed and is defined where a sum overflows.
  static constexpr Kernels kernels{
      {sum<Plain<float>>, sum<Plain<double>>, sum<BFloat16>, sum<Float16>, sum<Plain<std::uint64_t>>,
       sum<Plain<std::uint32_t>>, sum<Plain<std::uint16_t>>, sum<Plain<std::uint8_t>>, sum<Plain<std::uint8_t>>,
       sum<Bool>},
      narrow<BFloat16>,
      narrow<Float16>,
      widen<BFloat16>,
      widen<Float16>,
  };
  return &kernels;
}

}  // namespace tutti::ps::kernels_detail
