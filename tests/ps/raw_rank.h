// SPDX-License-Identifier: Apache-2.0
// A rank that speaks to a shard byte by byte over a blocking socket, so that a test can stop it in the middle of a
// frame.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <span>
#include <string>

#include "common/net/connection.h"
#include "ps/messages.h"

namespace tutti::ps {

class RawRank {
 public:
  /// Connects and proves the secret; throws when that fails.
  RawRank(const Endpoint& shard, const Credentials& credentials);

  /// Opens the object and waits for the answer.
  void open(const ObjectTable& table, const FrameHeader& header);
  /// Sends the header of a push whose payload is `payload`, and `bytes` of that.
  void push_in_part(FrameHeader header, std::span<const std::byte> payload, std::size_t bytes);

 private:
  void write(std::span<const std::byte> bytes);
  std::vector<std::byte> read(std::size_t bytes);

  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_{context_};
};

}  // namespace tutti::ps
