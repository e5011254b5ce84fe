// SPDX-License-Identifier: Apache-2.0
// A checksum is a polynomial over GF(2) modulo P, reflected: bit 31 is the coefficient of x^0. Running it over n zero
// bytes multiplies it by x^8n. So three streams run at once, which hides the three cycles the instruction takes, and
// are joined by multiplications: crc(a b c) = crc(a) x^16n + crc(b) x^8n + crc(c).
#include "common/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace tutti {
namespace crc32c_detail {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;

constexpr std::uint32_t times_x(std::uint32_t a) {
  return (a >> 1) ^ ((a & 1) * kPolynomial);
}

constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (int power = 31; power >= 0; --power) {
    product ^= ((a >> power) & 1) * b;
    b = times_x(b);
  }
  return product;
}

// Entry [k][byte] is the checksum of `byte` followed by k zero bytes.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;
constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (auto& table : tables) {
      for (int bit = 0; bit < 8; ++bit) crc = times_x(crc);
      table[byte] = crc;
    }
  }
  return tables;
}
constexpr Tables kTables = make_tables();

std::uint64_t load_u64(const std::byte* at) {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

}  // namespace

std::uint32_t by_table(std::span<const std::byte> bytes, std::uint32_t seed) {
  std::uint32_t crc = ~seed;
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    std::uint64_t word = load_u64(bytes.data()) ^ crc;
    crc = 0;
    for (int zeros_after = 7; zeros_after >= 0; --zeros_after, word >>= 8) crc ^= kTables[zeros_after][word & 255];
  }
  for (const std::byte byte : bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ std::to_integer<std::uint32_t>(byte)) & 255];
  return ~crc;
}

#if defined(__x86_64__)
namespace {

// Long enough that the two multiplications after each round do not show.
constexpr std::size_t kStreamBytes = 8192;

constexpr std::uint32_t shift_by_stream() {
  std::uint32_t power = 1u << 30;  // x; squared 16 times: x^65536
  for (std::size_t bits = 1; bits < 8 * kStreamBytes; bits *= 2) power = multiply(power, power);
  return power;
}
constexpr std::uint32_t kShiftByStream = shift_by_stream();

__attribute__((target("sse4.2"))) std::uint32_t three_streams(const std::byte* at, std::uint32_t crc) {
  std::uint64_t first = crc, second = 0, third = 0;
  for (const std::byte* end = at + kStreamBytes; at != end; at += 8) {
    first = _mm_crc32_u64(first, load_u64(at));
    second = _mm_crc32_u64(second, load_u64(at + kStreamBytes));
    third = _mm_crc32_u64(third, load_u64(at + 2 * kStreamBytes));
  }
  const std::uint32_t two =
      multiply(static_cast<std::uint32_t>(first), kShiftByStream) ^ static_cast<std::uint32_t>(second);
  return multiply(two, kShiftByStream) ^ static_cast<std::uint32_t>(third);
}

}  // namespace

bool has_instruction() noexcept {
  return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) std::uint32_t by_instruction(std::span<const std::byte> bytes, std::uint32_t seed) {
  std::uint32_t crc = ~seed;
  for (; bytes.size() >= 3 * kStreamBytes; bytes = bytes.subspan(3 * kStreamBytes))
    crc = three_streams(bytes.data(), crc);
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    crc = static_cast<std::uint32_t>(_mm_crc32_u64(crc, load_u64(bytes.data())));
  }
  for (const std::byte byte : bytes) crc = _mm_crc32_u8(crc, std::to_integer<unsigned char>(byte));
  return ~crc;
}
#else
bool has_instruction() noexcept {
  return false;
}
std::uint32_t by_instruction(std::span<const std::byte> bytes, std::uint32_t seed) {
  return by_table(bytes, seed);
}
#endif

}  // namespace crc32c_detail

// x^8n by squaring. The ones with which a checksum begins and ends cancel out in the sum.
std::uint32_t crc32c_join(std::uint32_t first, std::uint32_t second, std::uint64_t second_bytes) {
  using crc32c_detail::multiply;
  std::uint32_t square = 1u << 23;  // x^8
  for (; second_bytes != 0; second_bytes >>= 1, square = multiply(square, square)) {
    if ((second_bytes & 1) != 0) first = multiply(first, square);
  }
  return first ^ second;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed) {
  static const auto way = crc32c_detail::has_instruction() ? crc32c_detail::by_instruction : crc32c_detail::by_table;
  return way(bytes, seed);
}

}  // namespace tutti
