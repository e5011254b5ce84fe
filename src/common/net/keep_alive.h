// SPDX-License-Identifier: Apache-2.0
// Tells a peer that is not there any more from one that has nothing to say: both ends say a word twelve times in a
// timeout, and one that has not been heard of for half of it is given up, so that a cut in the network becomes an error
// in place of silence. A word is a frame of type kAlive: how many frames of the peer's were handled (in `step`), the
// word's own number (`chunk`) and the newest that has come from the peer (`object`). Time counts only as far as this
// process was there to see it pass: one that was stopped finds nobody silent when it is back.
// Sans-I/O. Thread safety: owned by one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "common/clock.h"
#include "common/net/frame.h"

namespace tutti {

class KeepAlive {
 public:
  /// What counts as a sign of life.
  enum class Sign {
    kBytes,   ///< whatever comes, since words may have to wait behind tensors; a peer that says no words is not judged
    kAnswer,  ///< that the peer has heard this side: a cut of either direction shows on both sides
  };

  KeepAlive(Duration timeout, Sign sign) : timeout_(timeout), sign_(sign) {}

  /// How often to say a word and to look.
  Duration period() const noexcept { return timeout_ / 12; }
  /// The next word. `handled`: the frames of the peer's so far.
  FrameHeader word(std::uint64_t handled) noexcept {
    FrameHeader word;
    word.type = FrameType::kAlive;
    word.step = handled;
    word.chunk = ++said_;
    word.object = heard_;
    return word;
  }
  /// The peer's.
  void heard(const FrameHeader& word) noexcept {
    heard_ = word.chunk;
    acknowledged_ = std::max(acknowledged_, word.step);
    has_answered_ = std::exchange(answered_, word.object) != word.object || has_answered_;
  }
  /// `bytes`: read so far.
  void look(std::uint64_t bytes, TimePoint now) noexcept {
    const Duration passed = std::min(now - last_look_.value_or(now), 2 * period());
    last_look_ = now;
    const bool has_come = std::exchange(bytes_, bytes) != bytes, has_answered = std::exchange(has_answered_, false);
    silent_ = (sign_ == Sign::kBytes ? has_come : has_answered) ? Duration::zero() : silent_ + passed;
  }
  /// Without a sign of life.
  Duration silent() const noexcept { return silent_; }
  bool is_dead() const noexcept { return silent_ >= timeout_ / 2 && (heard_ > 0 || sign_ == Sign::kAnswer); }
  /// Frames of this side that the peer has handled, as far as it has told.
  std::uint64_t acknowledged() const noexcept { return acknowledged_; }

 private:
  const Duration timeout_;
  const Sign sign_;
  std::optional<TimePoint> last_look_;
  Duration silent_{};
  std::uint64_t bytes_ = 0, acknowledged_ = 0;
  std::uint32_t said_ = 0, heard_ = 0, answered_ = 0;
  bool has_answered_ = false;  // since the last look
};

}  // namespace tutti
