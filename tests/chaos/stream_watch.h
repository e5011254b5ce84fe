// SPDX-License-Identifier: Apache-2.0
// Follows what two processes of a run say to each other and cuts the bytes of each direction into pieces of one
// message: handshake or frame. Sans-I/O. Thread safety: owned by one thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/net/frame.h"
#include "common/net/handshake_fsm.h"

namespace tutti::testing {

/// One connection. What it is for is known once its first frame is there.
struct Link {
  enum class Target { kUnknown, kCoordinator, kShard, kDonor } target = Target::kUnknown;
  pid_t pid = 0;         ///< the process that connects
  PeerIdentity self;     ///< who it says it is; a worker of rank -1 until it has said so
  int shard = -1;        ///< of a kShard, once it has answered
  bool is_tutti = true;  ///< until something else was seen
};

/// Where in a message some bytes lie that follow each other.
struct Piece {
  const Link& link;
  bool to_server = true;
  std::optional<FrameHeader> frame;  ///< nothing: of the handshake, of a header that has not come whole, or not tutti's
  std::uint64_t offset = 0;          ///< of the first of these bytes in the message
  std::uint64_t message_bytes = 0;   ///< 0: not known
  std::size_t size = 0;

  bool is(FrameType type) const { return frame && frame->type == type; }
};

class StreamWatch {
 public:
  StreamWatch(Link& link, bool to_server);

  /// How many of `bytes`, the next ones of this direction, belong to one message, and where they lie in it. 0: a header
  /// is not whole, more bytes are to come first.
  std::optional<Piece> next(std::span<const std::byte> bytes);
  /// So many of them were dealt with.
  void consume(std::size_t count);

 private:
  enum class State { kFirst, kSecond, kFrames, kOpaque };
  std::size_t handshake_bytes() const;
  void greet(std::span<const std::byte> hello);
  bool begin_frame(std::span<const std::byte> bytes);
  void learn(const FrameHeader& frame);

  Link& link_;
  const bool to_server_;
  State state_ = State::kFirst;
  std::optional<FrameHeader> frame_;
  std::uint64_t offset_ = 0, message_bytes_ = 0;
};

}  // namespace tutti::testing
