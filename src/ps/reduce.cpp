// SPDX-License-Identifier: Apache-2.0
#include "ps/reduce.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "common/assert.h"
#include "ps/half.h"

namespace tutti::ps {

namespace {

// The block of the sum stays in the first-level cache while each rank's block passes by once.
constexpr std::size_t kBlockBytes = 16u << 10;

/// A kind of element: what is stored, what it is added in, and how.
template <class Number>
struct Plain {
  using Stored = Number;
  using Sum = Number;
  static Sum widen(Stored value) noexcept { return value; }
  static Sum add(Sum a, Sum b) noexcept { return static_cast<Sum>(a + b); }
};
struct Bool : Plain<std::uint8_t> {
  static Sum add(Sum a, Sum b) noexcept { return a | b; }
};
template <float (*from_stored)(std::uint16_t) noexcept, std::uint16_t (*to_stored)(float) noexcept>
struct Half {
  using Stored = std::uint16_t;
  using Sum = float;
  static Sum widen(Stored value) noexcept { return from_stored(value); }
  static Stored narrow(Sum value) noexcept { return to_stored(value); }
  static Sum add(Sum a, Sum b) noexcept { return a + b; }
};
using BFloat16 = Half<float_from_bfloat16, bfloat16_from_float>;
using Float16 = Half<float_from_float16, float16_from_float>;

/// One block of every rank's elements: where it begins in them and how long it is.
struct Block {
  std::size_t begin;
  std::size_t count;
};

template <class Kind>
void copy_first(typename Kind::Sum* __restrict sum, const typename Kind::Stored* __restrict from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) sum[i] = Kind::widen(from[i]);
}
template <class Kind>
void add_next(typename Kind::Sum* __restrict sum, const typename Kind::Stored* __restrict from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) sum[i] = Kind::add(sum[i], Kind::widen(from[i]));
}
template <class Sum>
void divide(Sum* sum, std::size_t count, Sum by) {
  for (std::size_t i = 0; i < count; ++i) sum[i] = sum[i] / by;
}

template <class Kind>
void sum_up(std::span<const std::byte* const> from, Block block, bool average, typename Kind::Sum* sum) {
  using Stored = typename Kind::Stored;
  const auto of_rank = [&](std::size_t rank) { return reinterpret_cast<const Stored*>(from[rank]) + block.begin; };
  const bool is_in_place = static_cast<const void*>(of_rank(0)) == sum;
  if (!is_in_place) copy_first<Kind>(sum, of_rank(0), block.count);
  for (std::size_t rank = 1; rank < from.size(); ++rank) add_next<Kind>(sum, of_rank(rank), block.count);
  if constexpr (std::is_floating_point_v<typename Kind::Sum>) {
    if (average) divide(sum, block.count, static_cast<typename Kind::Sum>(from.size()));
  }
}

template <class Kind>
void reduce_as(std::span<const std::byte* const> from, bool average, std::span<std::byte> into) {
  using Stored = typename Kind::Stored;
  using Sum = typename Kind::Sum;
  constexpr std::size_t block_elements = kBlockBytes / sizeof(Sum);
  const std::size_t total = into.size() / sizeof(Stored);
  for (std::size_t begin = 0; begin < total; begin += block_elements) {
    const Block block{begin, std::min(block_elements, total - begin)};
    Stored* const stored = reinterpret_cast<Stored*>(into.data()) + begin;
    if constexpr (std::is_same_v<Stored, Sum>) {
      sum_up<Kind>(from, block, average, stored);  // the sum grows where it is wanted
    } else {
      alignas(64) Sum sum[block_elements];
      sum_up<Kind>(from, block, average, sum);
      for (std::size_t i = 0; i < block.count; ++i) stored[i] = Kind::narrow(sum[i]);
    }
  }
}

}  // namespace

bool can_reduce(DType dtype, Reduction reduction) noexcept {
  return is_floating(dtype) || reduction != Reduction::kAverage;
}

void reduce(DType dtype, Reduction reduction, std::span<const std::byte* const> contributions,
            std::span<std::byte> into) {
  TUTTI_ASSERT(can_reduce(dtype, reduction) && reduction != Reduction::kBroadcast, "the table was checked");
  TUTTI_ASSERT(!contributions.empty(), "a sum has something to add");
  const bool average = reduction == Reduction::kAverage;
  switch (dtype) {
    case DType::kFloat32:
      return reduce_as<Plain<float>>(contributions, average, into);
    case DType::kFloat64:
      return reduce_as<Plain<double>>(contributions, average, into);
    case DType::kBFloat16:
      return reduce_as<BFloat16>(contributions, average, into);
    case DType::kFloat16:
      return reduce_as<Float16>(contributions, average, into);
    // Unsigned arithmetic has the same bits as signed and is defined where a sum overflows.
    case DType::kInt64:
      return reduce_as<Plain<std::uint64_t>>(contributions, average, into);
    case DType::kInt32:
      return reduce_as<Plain<std::uint32_t>>(contributions, average, into);
    case DType::kInt16:
      return reduce_as<Plain<std::uint16_t>>(contributions, average, into);
    case DType::kInt8:
    case DType::kUInt8:
      return reduce_as<Plain<std::uint8_t>>(contributions, average, into);
    case DType::kBool:
      return reduce_as<Bool>(contributions, average, into);
  }
  TUTTI_ASSERT(false, "a dtype of the list");
}

}  // namespace tutti::ps
