// SPDX-License-Identifier: Apache-2.0
// bfloat16 and float16 to float32 and back, rounding to nearest even, with the bits LibTorch gives. Written as
// selections instead of branches, so that a loop around them becomes vector instructions on any processor.
// Thread safety: functions without state.
#pragma once

#include <bit>
#include <cstdint>

namespace tutti::ps {

/// The least magnitudes that are rounded to infinity.
inline constexpr float kBFloat16Beyond = std::bit_cast<float>(0x7f7f8000u), kFloat16Beyond = 65520.0f;

/// `yes` or `no` by arithmetic: a compiler may not compute a float that a branch would have left out.
inline std::uint32_t select(bool condition, std::uint32_t yes, std::uint32_t no) noexcept {
  const std::uint32_t mask = 0u - static_cast<std::uint32_t>(condition);
  return (yes & mask) | (no & ~mask);
}

inline float float_from_bfloat16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t bfloat16_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // Half of the last place that is kept, less one where that place is even: a tie then goes to the even neighbour.
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<std::uint16_t>(select(is_nan, 0x7fc0u, rounded));
}

inline float float_from_float16(std::uint16_t bits) noexcept {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  constexpr std::uint32_t rebias = (127u - 15u) << 23;
  const std::uint32_t normal = (magnitude << 13) + rebias;
  // The largest exponent of the one is the largest of the other. A signalling NaN becomes a quiet one, as it does in
  // every operation of the processor.
  const std::uint32_t infinite = (normal + rebias) | select(magnitude > 0x7c00u, 0x00400000u, 0);
  // A subnormal is an integer times 2^-24: exact in float32.
  const auto subnormal =
      std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  const std::uint32_t finite = select(magnitude < 0x0400u, subnormal, normal);
  return std::bit_cast<float>(sign | select(magnitude >= 0x7c00u, infinite, finite));
}

inline std::uint16_t float16_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - ((127u - 15u) << 23)) >> 13;
  const bool is_small = magnitude < 0x38800000u;  // below 2^-14
  // Added to 0.5, whose last place is 2^-24, a value is rounded by the processor to the subnormals of float16.
  const float small = std::bit_cast<float>(select(is_small, magnitude, 0u));
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(small + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
  const std::uint32_t finite = select(is_small, subnormal, normal);
  const std::uint32_t large = select(magnitude > 0x7f800000u, 0x7e00u, 0x7c00u);  // not a number, or beyond 65504
  return static_cast<std::uint16_t>(sign | select(magnitude >= 0x477ff000u, large, finite));
}

}  // namespace tutti::ps
