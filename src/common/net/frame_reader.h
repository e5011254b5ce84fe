// SPDX-License-Identifier: Apache-2.0
// The receiving half of a connection: header, control part, payload, checksum, one frame after the other. A payload's
// checksum is carried on piece by piece, while the bytes are still in the cache.
// Thread safety: lives on the loop, inside its Connection, which the pending handler keeps alive.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/copy_meter.h"
#include "common/net/connection.h"

namespace tutti {

class FrameReader {
 public:
  /// `on_end` is called once, with the reason why nothing more will be read; `on_alive` for each frame of that type,
  /// which the sink does not see.
  FrameReader(Connection& owner, Connection::Socket& socket, std::function<void(const Failure&)> on_end,
              std::function<void(const FrameHeader&)> on_alive);

  void start(FrameSink& sink);
  void measure(CopyMeter* meter) noexcept { meter_ = meter; }
  /// From here on bytes are read and dropped until the peer closes.
  void discard() { discarding_ = true; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  /// Frames that the sink has taken.
  std::uint64_t handled() const noexcept { return handled_; }

 private:
  using Step = void (FrameReader::*)();
  void read_exactly(std::span<std::byte> into, Step next);
  void read_header();
  void on_header();
  void on_control();
  void read_payload();
  void deliver();
  void drain();
  bool proceeds(const boost::system::error_code& error, std::size_t read);
  void end(Failure why);

  Connection& owner_;
  Connection::Socket& socket_;
  const std::function<void(const Failure&)> on_end_;
  const std::function<void(const FrameHeader&)> on_alive_;
  FrameSink* sink_ = nullptr;
  CopyMeter* meter_ = nullptr;
  bool discarding_ = false;
  std::uint64_t bytes_ = 0, handled_ = 0;

  // The frame that is being read.
  FrameHeaderBytes header_bytes_{};
  FrameHeader header_;
  std::vector<std::byte> control_;
  std::span<std::byte> payload_;
  std::size_t payload_read_ = 0;
  std::uint32_t crc_ = 0;
};

}  // namespace tutti
