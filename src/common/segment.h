// SPDX-License-Identifier: Apache-2.0
// The memory that the ranks of one host share: a header of marks, then room for their buckets. A rank marks a bucket
// ready when its input lies there; a bucket's blocks are claimed one by one by whoever has time for them; who sums a
// block marks it done and counts it as finished. Who waits sleeps on one word, which also carries the reason when the
// run is given up: so no wait can miss an abort.
//   word: bits 0-7 the reason (0: none), bits 8-31 a count of the marks: one made between a look and the sleep is seen.
// Thread safety: marks and waits from any thread of any process; create, attach and move from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/clock.h"
#include "common/result.h"
#include "common/shared_memory.h"

namespace tutti {

/// Sizes of a segment. They are validated when it is attached, and read from nowhere else afterwards.
struct SegmentShape {
  std::uint32_t ranks = 1;
  std::uint32_t buckets = 1;
  std::uint64_t blocks = 1;  ///< of all buckets
  std::uint64_t data_bytes = 0;
  bool operator==(const SegmentShape&) const = default;
};

enum class SegmentWait { kHolds, kTimeout, kAborted };

class Segment {
 public:
  /// Errors: kIo when there is not so much memory, kUsage for a shape beyond all bounds.
  static Result<Segment> create(const SegmentShape& shape, std::uint32_t generation);
  /// Takes `fd` over. Errors: kBadData when it is no segment of this version, or its sizes are not the file's.
  static Result<Segment> attach(int fd);

  int fd() const noexcept { return memory_.fd(); }
  const SegmentShape& shape() const noexcept { return shape_; }
  /// Page aligned; zeros at first.
  std::span<std::byte> data() const noexcept { return data_; }

  /// A part of data() that nobody uses for now: its memory goes back to the system until reserve() (shared_memory.h).
  void give_back(std::size_t offset, std::size_t bytes) noexcept;
  Result<> reserve(std::size_t offset, std::size_t bytes);

  std::uint32_t generation() const noexcept;
  /// Begins a new generation: clears the reason. REQUIRES: nobody of the old one is left, no wait is under way.
  void begin_generation(std::uint32_t generation) noexcept;

  /// Marks: the last step for which the bucket holds `rank`'s input, and for which the block holds the result. Setting
  /// one releases what was written before it; reading one acquires it. set_ready() wakes whoever sleeps; the others do
  /// not, being some of many: wake_all() follows the last.
  void mark_ready(std::uint32_t rank, std::uint32_t bucket, std::uint64_t step) noexcept;
  void set_ready(std::uint32_t rank, std::uint32_t bucket, std::uint64_t step) noexcept;
  std::uint64_t ready(std::uint32_t rank, std::uint32_t bucket) const noexcept;
  void set_done(std::uint64_t block, std::uint64_t step) noexcept;
  std::uint64_t done(std::uint64_t block) const noexcept;

  /// The next block of the bucket that nobody has claimed in this round, of `blocks`; none when all are. Rounds count
  /// up from 1; REQUIRES: a round begins when the one before it is finished.
  std::optional<std::uint32_t> claim(std::uint32_t bucket, std::uint64_t round, std::uint32_t blocks) noexcept;
  /// One more claimed block is complete. Returns how many are, over all rounds; releases as a mark does.
  std::uint64_t finish(std::uint32_t bucket) noexcept;
  std::uint64_t finished(std::uint32_t bucket) const noexcept;
  /// The blocks of this round may be claimed anew, those that are complete already among them; so many are, over all
  /// rounds. REQUIRES: nobody works on the bucket.
  void resume(std::uint32_t bucket, std::uint64_t round, std::uint64_t finished) noexcept;

  /// Sleeps until `holds()`, which is looked at after every mark; until the deadline; or until there is a reason to
  /// give up.
  template <class Condition>
  SegmentWait wait(Condition holds, Deadline deadline) const {
    for (bool in_time = true;;) {
      const std::uint32_t seen = word();
      if (reason_in(seen) != 0) return SegmentWait::kAborted;
      if (holds()) return SegmentWait::kHolds;
      if (!in_time) return SegmentWait::kTimeout;
      in_time = sleep(seen, deadline);
    }
  }
  /// For a wait that works as well: look(), see what there is to do, and where there is nothing, sleep until anything
  /// was marked since that look. False at the deadline.
  std::uint32_t look() const noexcept { return word(); }
  bool sleep(std::uint32_t seen, Deadline deadline) const noexcept;
  /// Lets every waiter look again.
  void wake_all() noexcept;
  /// Ends every wait, now and until the next generation. The first reason stays. REQUIRES: reason is not 0.
  void set_abort(std::uint8_t reason) noexcept;
  /// 0: none.
  std::uint8_t abort_reason() const noexcept { return reason_in(word()); }

 private:
  struct Header;
  struct Work;
  Segment(SharedMemory memory, const SegmentShape& shape);
  static std::uint8_t reason_in(std::uint32_t word) noexcept { return static_cast<std::uint8_t>(word); }
  std::uint32_t word() const noexcept;
  std::uint64_t& ready_mark(std::uint32_t rank, std::uint32_t bucket) const noexcept;
  std::uint64_t& done_mark(std::uint64_t block) const noexcept;
  Work& work(std::uint32_t bucket) const noexcept;

  SharedMemory memory_;
  SegmentShape shape_;
  Header* header_;
  std::uint64_t* ready_;
  std::uint64_t* done_;
  Work* work_;
  std::span<std::byte> data_;
};

}  // namespace tutti
