// SPDX-License-Identifier: Apache-2.0
// What two ends have said to each other over a connection that may break and be made again: each end keeps the frames
// of its own that the other has not handled yet, and counts those of the other that it has. When they meet again each
// tells its count, and the other goes on from there: nothing is lost, and nothing is handled twice.
// Sans-I/O. Thread safety: owned by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "common/net/frame.h"

namespace tutti {

/// In the flags of a kJoin: a member that has joined before comes again. Its `step`, and that of the kJoined which
/// answers, is the count of handled frames.
inline constexpr std::uint16_t kComesAgain = 1;

class ResumableStream {
 public:
  struct Frame {
    FrameHeader header;
    std::string control;
  };
  /// Of frames that are kept. Beyond it the oldest are dropped, and one that has missed them cannot go on.
  static constexpr std::size_t kKeptBytesMax = 64u << 20;

  void sent(const FrameHeader& header, const std::string& control);
  /// A frame of the other end was handled.
  void count_handled() noexcept { ++handled_; }
  std::uint64_t handled() const noexcept { return handled_; }
  /// The other end has handled so many of this end's on the connection that there is now, the join among them.
  void acknowledged(std::uint64_t on_connection);
  /// Whether the other end, which has handled `count`, can go on from there.
  bool reaches(std::uint64_t count) const noexcept;
  /// A new connection: what the other end has not handled yet, to be sent again. REQUIRES: reaches(count).
  const std::deque<Frame>& resume(std::uint64_t count);

 private:
  void forget_before(std::uint64_t count);

  std::deque<Frame> kept_;
  std::size_t kept_bytes_ = 0;
  std::uint64_t first_ = 0;  // number of the first that is kept
  std::uint64_t base_ = 0;   // handled by the other end when the connection was made
  std::uint64_t handled_ = 0;
};

}  // namespace tutti
