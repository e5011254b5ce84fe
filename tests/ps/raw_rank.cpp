// SPDX-License-Identifier: Apache-2.0
#include "tests/ps/raw_rank.h"

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <stdexcept>

#include "common/bounded_archive.h"
#include "common/net/frame.h"
#include "common/net/handshake_fsm.h"

namespace tutti::ps {

RawRank::RawRank(const Endpoint& shard, const Credentials& credentials) {
  socket_.connect({boost::asio::ip::make_address(shard.host), shard.port});
  ClientHandshakeFsm handshake(credentials.secret, credentials.job, credentials.self, random_nonce());
  HandshakeAction action = handshake.start();
  while (true) {
    write(action.send);
    if (action.kind == HandshakeAction::Kind::kDone) return;
    if (action.kind == HandshakeAction::Kind::kFailed) throw std::runtime_error(action.failure->text());
    action = handshake.feed(read(action.need_bytes));
  }
}

void RawRank::open(const ObjectTable& table, const FrameHeader& header) {
  const std::string control = encode(OpenRequest{table, {}});
  FrameHeader open = header;
  open.type = FrameType::kOpen;
  open.object = table.object;
  open.control_bytes = static_cast<std::uint32_t>(control.size());
  open.payload_bytes = 0;
  open.crc = checksum(open, std::as_bytes(std::span(control)), {});
  write(encode(open));
  write(std::as_bytes(std::span(control)));
  const auto answer = read(kFrameHeaderBytes);
  const auto opened = decode_header(std::span<const std::byte, kFrameHeaderBytes>(answer));
  if (!opened || opened->type != FrameType::kOpened) throw std::runtime_error("the shard did not answer to an open");
  read(opened->control_bytes);
}

void RawRank::push_in_part(FrameHeader header, std::span<const std::byte> payload, std::size_t bytes) {
  header.payload_bytes = payload.size();
  header.crc = checksum(header, {}, payload);
  write(encode(header));
  write(payload.first(bytes));
}

void RawRank::write(std::span<const std::byte> bytes) {
  boost::asio::write(socket_, boost::asio::const_buffer(bytes.data(), bytes.size()));
}

std::vector<std::byte> RawRank::read(std::size_t bytes) {
  std::vector<std::byte> read(bytes);
  boost::asio::read(socket_, boost::asio::mutable_buffer(read.data(), read.size()));
  return read;
}

}  // namespace tutti::ps
