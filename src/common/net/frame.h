// SPDX-License-Identifier: Apache-2.0
// A frame: a fixed header of 48 bytes, a control part (cereal, at most 1 MiB), then a payload of tensor bytes.
// Sans-I/O: bytes to header and back. docs/wire_format.md is the public description.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/result.h"

namespace tutti {

/// The values are part of the wire format: they never change.
enum class FrameType : std::uint16_t {
  // between a member and the coordinator
  kJoin = 1,
  kJoined,
  kContribute,
  kGathered,
  kStoreRequest,
  kStoreReply,
  kProgress,
  kLeave,
  kLeft,
  kAbort,
  kRegroup,
  kRestart,
  kUnreachable,
  kClockQuestion = 14,
  kClockAnswer,
  kReport,
  kWish,
  // between an agent and the coordinator
  kChildExited = 32,
  kShutdown,
  kAgentDone,
  kStart,
  kEvict,
  kHeartbeat,
  kLease,
  kAssign = 48,
  kStop,
  // between a client and a shard
  kOpen = 64,
  kOpened,
  kPush,
  kResult,
  // between a survivor and a newcomer
  kState = 96,
  kStatePart,
  kStateTaken,
  // on any connection (keep_alive.h)
  kAlive = 128,
};

struct FrameHeader {
  FrameType type{};
  std::uint16_t flags = 0;
  std::uint32_t generation = 0;
  std::uint64_t step = 0;
  std::uint32_t object = 0;    ///< which DataParallel
  std::uint16_t exchange = 0;  ///< which exchange within the step
  std::uint16_t sender = 0;    ///< rank of the sender within its role
  std::uint32_t chunk = 0;
  std::uint32_t control_bytes = 0;
  std::uint64_t payload_bytes = 0;
  std::uint32_t crc = 0;  ///< CRC32C over the header up to here, the control part and the payload
};
// On the wire: type u16, flags u16, generation u32, step u64, object u32, exchange u16, sender u16, chunk u32,
// control_bytes u32, payload_bytes u64, reserved u32 (zero), crc u32; all little-endian: 48 bytes.
inline constexpr std::size_t kFrameHeaderBytes = 48;
inline constexpr std::uint32_t kControlBytesMax = 1u << 20;
inline constexpr std::uint64_t kPayloadBytesMax = 1ull << 30;

using FrameHeaderBytes = std::array<std::byte, kFrameHeaderBytes>;

/// `header.crc` is written as it stands: checksum() computes it.
FrameHeaderBytes encode(const FrameHeader& header);
/// kProtocol: an unknown type, a control part above kControlBytesMax and a payload above kPayloadBytesMax; nothing was
/// allocated for it.
Result<FrameHeader> decode_header(std::span<const std::byte, kFrameHeaderBytes> bytes);
/// The checksum that belongs into `header.crc`.
std::uint32_t checksum(const FrameHeader& header, std::span<const std::byte> control,
                       std::span<const std::byte> payload);
/// The same without the payload, over which crc32c() carries it on as the bytes arrive.
std::uint32_t checksum(const FrameHeader& header, std::span<const std::byte> control);

}  // namespace tutti
