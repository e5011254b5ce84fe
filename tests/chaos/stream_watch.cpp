// SPDX-License-Identifier: Apache-2.0
#include "tests/chaos/stream_watch.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace tutti::testing {
namespace {

constexpr std::string_view kMagic = "TUTTI";

template <class Number>
Number number_at(std::span<const std::byte> bytes, std::size_t offset) {
  Number number{};
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

bool is_magic(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagicBytes && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

}  // namespace

StreamWatch::StreamWatch(Link& link, bool to_server) : link_(link), to_server_(to_server) {}

std::size_t StreamWatch::handshake_bytes() const {
  if (to_server_) return state_ == State::kFirst ? kHelloBytes : kProofBytes;
  return state_ == State::kFirst ? kChallengeBytes : kVerdictBytes;
}

std::optional<Piece> StreamWatch::next(std::span<const std::byte> bytes) {
  if (!link_.is_tutti) state_ = State::kOpaque;
  if (state_ == State::kOpaque) return Piece{link_, to_server_, {}, 0, 0, bytes.size()};
  if (offset_ == 0) {
    if (state_ == State::kFirst && bytes.size() >= kMagicBytes && !is_magic(bytes)) {
      link_.is_tutti = false;
      return next(bytes);
    }
    const bool is_whole = state_ == State::kFrames ? begin_frame(bytes) : bytes.size() >= handshake_bytes();
    if (!link_.is_tutti) return next(bytes);
    if (!is_whole) return std::nullopt;
    if (state_ == State::kFirst && to_server_) greet(bytes);
    if (state_ != State::kFrames) message_bytes_ = handshake_bytes();
  }
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), message_bytes_ - offset_));
  return Piece{link_, to_server_, frame_, offset_, message_bytes_, size};
}

void StreamWatch::consume(std::size_t count) {
  if (state_ == State::kOpaque) return;
  offset_ += count;
  if (offset_ < message_bytes_) return;
  offset_ = 0;
  frame_.reset();
  state_ = state_ == State::kFirst ? State::kSecond : State::kFrames;
}

// Hello: magic (8), role u8, connection u8, zeros (2), rank i32, generation u32
void StreamWatch::greet(std::span<const std::byte> hello) {
  link_.self = {static_cast<Role>(hello[8]), number_at<std::int32_t>(hello, 12), number_at<std::uint32_t>(hello, 16),
                static_cast<std::uint8_t>(hello[9])};
}

bool StreamWatch::begin_frame(std::span<const std::byte> bytes) {
  if (bytes.size() < kFrameHeaderBytes) return false;
  const auto header = decode_header(bytes.first<kFrameHeaderBytes>());
  link_.is_tutti = header.has_value();  // after a flipped bit nobody can tell any more
  if (!header) return false;
  frame_ = *header;
  message_bytes_ = kFrameHeaderBytes + header->control_bytes + header->payload_bytes;
  learn(*header);
  return true;
}

void StreamWatch::learn(const FrameHeader& frame) {
  if (to_server_ && (frame.type == FrameType::kJoin || link_.self.role == Role::kAgent))
    link_.target = Link::Target::kCoordinator;
  if (to_server_ && frame.type == FrameType::kOpen) link_.target = Link::Target::kShard;
  if (!to_server_ && frame.type == FrameType::kOpened) link_.shard = frame.sender;
  if (!to_server_ && frame.type == FrameType::kState) link_.target = Link::Target::kDonor;
}

}  // namespace tutti::testing
