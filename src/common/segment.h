// SPDX-License-Identifier: Apache-2.0
// The memory that the ranks of one host share: a header of marks, then room for their buckets. A rank marks a bucket
// ready when its input lies there; whoever sums a block marks it done. Who waits for a mark sleeps on one word, which
// also carries the reason when the run is given up: so no wait can miss an abort.
//   word: bits 0-7 the reason (0: none), bits 8-31 a count of the marks: one made between a look and the sleep is seen.
// Thread safety: marks and waits from any thread of any process; create, attach and move from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
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

  std::uint32_t generation() const noexcept;
  /// Begins a new generation: clears the reason. REQUIRES: nobody of the old one is left, no wait is under way.
  void begin_generation(std::uint32_t generation) noexcept;

  /// Marks: the last step for which the bucket holds `rank`'s input, and for which the block holds the result. Setting
  /// one releases what was written before it; reading one acquires it.
  void set_ready(std::uint32_t rank, std::uint32_t bucket, std::uint64_t step) noexcept;
  std::uint64_t ready(std::uint32_t rank, std::uint32_t bucket) const noexcept;
  void set_done(std::uint64_t block, std::uint64_t step) noexcept;
  std::uint64_t done(std::uint64_t block) const noexcept;

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
  /// Lets every waiter look again.
  void wake_all() noexcept;
  /// Ends every wait, now and until the next generation. The first reason stays. REQUIRES: reason is not 0.
  void set_abort(std::uint8_t reason) noexcept;
  /// 0: none.
  std::uint8_t abort_reason() const noexcept { return reason_in(word()); }

 private:
  struct Header;
  Segment(SharedMemory memory, const SegmentShape& shape);
  static std::uint8_t reason_in(std::uint32_t word) noexcept { return static_cast<std::uint8_t>(word); }
  std::uint32_t word() const noexcept;
  /// Until the word is another one than `seen`; false at the deadline.
  bool sleep(std::uint32_t seen, Deadline deadline) const noexcept;
  std::uint64_t& ready_mark(std::uint32_t rank, std::uint32_t bucket) const noexcept;
  std::uint64_t& done_mark(std::uint64_t block) const noexcept;

  SharedMemory memory_;
  SegmentShape shape_;
  Header* header_;
  std::uint64_t* ready_;
  std::uint64_t* done_;
  std::span<std::byte> data_;
};

}  // namespace tutti
