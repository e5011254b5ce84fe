// SPDX-License-Identifier: Apache-2.0
// Integers as they stand on the wire: little-endian, whatever the machine.
// Thread safety: functions without state.
#pragma once

#include <concepts>
#include <cstddef>

namespace tutti {

/// Writes `value` at `at` and moves `at` behind it.
template <std::unsigned_integral T>
void put_little_endian(std::byte*& at, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) *at++ = static_cast<std::byte>(value >> (8 * i) & 0xff);
}

/// Reads a value from `at` and moves `at` behind it.
template <std::unsigned_integral T>
T get_little_endian(const std::byte*& at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | static_cast<T>(*at++) << (8 * i));
  return value;
}

}  // namespace tutti
