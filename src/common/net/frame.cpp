// SPDX-License-Identifier: Apache-2.0
#include "common/net/frame.h"

#include "common/crc32c.h"
#include "common/net/little_endian.h"

namespace tutti {
namespace {

// The checksum is the header's last field and covers everything before it.
constexpr std::size_t kChecksummedHeaderBytes = kFrameHeaderBytes - sizeof(std::uint32_t);

bool is_known(FrameType type) {
  switch (type) {
    case FrameType::kJoin:
    case FrameType::kJoined:
    case FrameType::kContribute:
    case FrameType::kGathered:
    case FrameType::kStoreRequest:
    case FrameType::kStoreReply:
    case FrameType::kProgress:
    case FrameType::kLeave:
    case FrameType::kLeft:
    case FrameType::kAbort:
    case FrameType::kRegroup:
    case FrameType::kRestart:
    case FrameType::kUnreachable:
    case FrameType::kReport:
    case FrameType::kWish:
    case FrameType::kClockQuestion:
    case FrameType::kClockAnswer:
    case FrameType::kChildExited:
    case FrameType::kShutdown:
    case FrameType::kAgentDone:
    case FrameType::kStart:
    case FrameType::kEvict:
    case FrameType::kHeartbeat:
    case FrameType::kLease:
    case FrameType::kAssign:
    case FrameType::kStop:
    case FrameType::kOpen:
    case FrameType::kOpened:
    case FrameType::kPush:
    case FrameType::kResult:
    case FrameType::kState:
    case FrameType::kStatePart:
    case FrameType::kStateTaken:
    case FrameType::kAlive:
      return true;
  }
  return false;
}

Result<> check(const FrameHeader& header, std::uint32_t reserved) {
  if (!is_known(header.type)) {
    return fail(Errc::kProtocol, "a frame of unknown type " + std::to_string(static_cast<int>(header.type)));
  }
  if (header.control_bytes > kControlBytesMax) {
    return fail(Errc::kProtocol,
                "a frame whose control part claims " + std::to_string(header.control_bytes) + " bytes");
  }
  if (header.payload_bytes > kPayloadBytesMax) {
    return fail(Errc::kProtocol, "a frame whose payload claims " + std::to_string(header.payload_bytes) + " bytes");
  }
  if (reserved != 0) return fail(Errc::kProtocol, "a frame whose reserved field is not zero");
  return {};
}

}  // namespace

FrameHeaderBytes encode(const FrameHeader& header) {
  FrameHeaderBytes bytes;
  std::byte* at = bytes.data();
  put_little_endian(at, static_cast<std::uint16_t>(header.type));
  put_little_endian(at, header.flags);
  put_little_endian(at, header.generation);
  put_little_endian(at, header.step);
  put_little_endian(at, header.object);
  put_little_endian(at, header.exchange);
  put_little_endian(at, header.sender);
  put_little_endian(at, header.chunk);
  put_little_endian(at, header.control_bytes);
  put_little_endian(at, header.payload_bytes);
  put_little_endian(at, std::uint32_t{0});
  put_little_endian(at, header.crc);
  return bytes;
}

Result<FrameHeader> decode_header(std::span<const std::byte, kFrameHeaderBytes> bytes) {
  FrameHeader header;
  const std::byte* at = bytes.data();
  header.type = static_cast<FrameType>(get_little_endian<std::uint16_t>(at));
  header.flags = get_little_endian<std::uint16_t>(at);
  header.generation = get_little_endian<std::uint32_t>(at);
  header.step = get_little_endian<std::uint64_t>(at);
  header.object = get_little_endian<std::uint32_t>(at);
  header.exchange = get_little_endian<std::uint16_t>(at);
  header.sender = get_little_endian<std::uint16_t>(at);
  header.chunk = get_little_endian<std::uint32_t>(at);
  header.control_bytes = get_little_endian<std::uint32_t>(at);
  header.payload_bytes = get_little_endian<std::uint64_t>(at);
  const auto reserved = get_little_endian<std::uint32_t>(at);
  header.crc = get_little_endian<std::uint32_t>(at);
  TUTTI_TRY(check(header, reserved));
  return header;
}

std::uint32_t checksum(const FrameHeader& header, std::span<const std::byte> control) {
  const FrameHeaderBytes bytes = encode(header);
  return crc32c(control, crc32c(std::span(bytes).first<kChecksummedHeaderBytes>()));
}

std::uint32_t checksum(const FrameHeader& header, std::span<const std::byte> control,
                       std::span<const std::byte> payload) {
  return crc32c(payload, checksum(header, control));
}

}  // namespace tutti
