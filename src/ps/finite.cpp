// SPDX-License-Identifier: Apache-2.0
// An IEEE number is no number, or infinite, if its exponent is all ones. Adding the exponent's lowest bit to the
// exponent alone then carries into the sign's place, and nothing else does: two operations and an OR for a whole
// vector of them. The loop is written once; what inlines it says for which processor it is compiled.
#include "ps/finite.h"

#include <cstdint>

namespace tutti::ps {
namespace finite_detail {
namespace {

template <class Word, Word exponent>
__attribute__((always_inline)) inline bool no_exponent_is_full(const std::byte* at, std::size_t elements) {
  constexpr Word lowest = exponent & static_cast<Word>(~exponent + 1);
  constexpr Word sign = static_cast<Word>(Word{1} << (8 * sizeof(Word) - 1));
  const Word* const words = reinterpret_cast<const Word*>(at);
  Word carried = 0;
  for (std::size_t i = 0; i < elements; ++i) {
    carried = static_cast<Word>(carried | static_cast<Word>((words[i] & exponent) + lowest));
  }
  return (carried & sign) == 0;
}

__attribute__((always_inline)) inline bool check(DType dtype, const std::byte* at, std::size_t elements) {
  switch (dtype) {
    case DType::kFloat32:
      return no_exponent_is_full<std::uint32_t, 0x7f800000>(at, elements);
    case DType::kFloat64:
      return no_exponent_is_full<std::uint64_t, 0x7ff0000000000000>(at, elements);
    case DType::kBFloat16:
      return no_exponent_is_full<std::uint16_t, 0x7f80>(at, elements);
    case DType::kFloat16:
      return no_exponent_is_full<std::uint16_t, 0x7c00>(at, elements);
    default:
      return true;
  }
}

bool check_plain(DType dtype, const std::byte* at, std::size_t elements) {
  return check(dtype, at, elements);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) bool check_avx2(DType dtype, const std::byte* at, std::size_t elements) {
  return check(dtype, at, elements);
}
#endif

}  // namespace

AllFinite plain() {
  return check_plain;
}

#if defined(__x86_64__)
AllFinite avx2() {
  return __builtin_cpu_supports("avx2") ? check_avx2 : nullptr;
}
#else
AllFinite avx2() {
  return nullptr;
}
#endif

}  // namespace finite_detail

bool all_finite(DType dtype, const std::byte* at, std::size_t elements) {
  static const finite_detail::AllFinite best = [] {
    if (const auto level = finite_detail::avx2()) return level;
    return finite_detail::plain();
  }();
  return best(dtype, at, elements);
}

std::optional<std::size_t> first_not_finite(DType dtype, const std::byte* at, std::size_t elements) {
  if (all_finite(dtype, at, elements)) return std::nullopt;
  std::size_t first = 0;
  while (all_finite(dtype, at + first * size_of(dtype), 1)) ++first;
  return first;
}

}  // namespace tutti::ps
