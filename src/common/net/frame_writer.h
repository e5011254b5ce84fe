// SPDX-License-Identifier: Apache-2.0
// The sending half of a connection: a queue of frames, written from where their bytes lie, several in one system call.
// A frame is sealed with its checksum just before it is written, so that its payload is read from memory once.
// Thread safety: lives on the loop, inside its Connection, which the pending handler keeps alive.
#pragma once

#include <boost/asio/buffer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/copy_meter.h"
#include "common/net/connection.h"

namespace tutti {

class FrameWriter {
 public:
  using Sent = std::function<void(bool ok)>;
  struct Outgoing {
    FrameHeader header;
    std::string control;
    std::span<const std::byte> payload;
    std::optional<std::uint32_t> payload_crc;  // where it is known, the payload need not be read for it
    Sent sent;
    FrameHeaderBytes sealed{};
  };

  /// `on_idle` is called whenever the queue ran empty, `on_error` once, when a write failed.
  FrameWriter(Connection& owner, Connection::Socket& socket, std::function<void()> on_idle,
              std::function<void(const Failure&)> on_error);

  void push(Outgoing frame);
  void measure(CopyMeter* meter) noexcept { meter_ = meter; }
  bool idle() const noexcept { return queue_.empty(); }
  /// Of the queue, without payloads, which are the callers' memory.
  std::size_t queued_bytes() const noexcept { return queued_bytes_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  /// What was not written: the owner tells its senders. REQUIRES: the socket is closed.
  std::deque<Outgoing> take_unsent();

 private:
  void write();
  void gather_batch();
  void seal(Outgoing& frame);
  void on_written(std::size_t bytes);

  Connection& owner_;
  Connection::Socket& socket_;
  CopyMeter* meter_ = nullptr;
  const std::function<void()> on_idle_;
  const std::function<void(const Failure&)> on_error_;
  std::deque<Outgoing> queue_;  // its first batch_ frames are being written
  std::size_t batch_ = 0;
  std::size_t queued_bytes_ = 0;
  std::uint64_t bytes_ = 0;
  std::vector<boost::asio::const_buffer> buffers_;
};

}  // namespace tutti
