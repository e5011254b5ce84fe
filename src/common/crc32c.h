// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of frames. By the processor's instruction where it has one.
// Thread safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tutti {

/// `seed` is the checksum of the bytes before these: crc32c(b, crc32c(a)) is that of a followed by b.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0);
/// The checksum of two parts, one after the other, from those of each: no byte is read again.
std::uint32_t crc32c_join(std::uint32_t first, std::uint32_t second, std::uint64_t second_bytes);

namespace crc32c_detail {
// The two ways, for the test that compares them.
std::uint32_t by_table(std::span<const std::byte> bytes, std::uint32_t seed);
bool has_instruction() noexcept;
/// REQUIRES: has_instruction().
std::uint32_t by_instruction(std::span<const std::byte> bytes, std::uint32_t seed);
}  // namespace crc32c_detail

}  // namespace tutti
