// SPDX-License-Identifier: Apache-2.0
// The shared memory of one host. A keeper (an agent; in embedded runs the first rank of the host) makes a segment when
// the first process asks for it and hands it to everybody who asks, by descriptor, over a socket that has a name but no
// file. The name is made of the job's id; both sides see to it that the other belongs to the same user. Since the
// keeper holds what it made, a segment outlives the processes that work in it.
// Thread safety: a keeper may be started and destroyed on any thread but the loop's; obtain_segment() is a function
// without state.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/log.h"
#include "common/net/handshake_fsm.h"
#include "common/net/loop.h"
#include "common/result.h"
#include "common/segment.h"

namespace tutti {

/// What a keeper of this job is called; `index` tells the keepers of hosts apart that share a network namespace.
std::string keeper_name(const JobId& job, int index);

/// Which segment, and what it must be like: equal for all that share it.
struct SegmentRequest {
  std::uint32_t object = 0;  ///< which DataParallel
  std::uint32_t number = 0;  ///< of its plan: a higher one replaces a lower one
  std::uint64_t plan_hash = 0;
  SegmentShape shape;
};

class SegmentKeeper {
 public:
  /// `loop` outlives the keeper. Errors: kUnavailable, when another process has the name.
  static Result<std::unique_ptr<SegmentKeeper>> start(Loop& loop, const std::string& name, Logger log);
  ~SegmentKeeper();

 private:
  struct Impl;
  SegmentKeeper(Loop& loop, std::shared_ptr<Impl> impl) : loop_(loop), impl_(std::move(impl)) {}

  Loop& loop_;
  std::shared_ptr<Impl> impl_;  // lives on the loop
};

/// Asks the keeper of that name, which may be about to start, and waits for the answer. REQUIRES: not called on the
/// keeper's loop. Errors: kMismatch where another process asked for the same object with other buckets, kIo where there
/// is no memory for it, kUnavailable without a keeper, kTimeout.
Result<Segment> obtain_segment(const std::string& keeper, const SegmentRequest& request, const Clock& clock,
                               Deadline deadline);

/// The keeper lets go of all that it made: who asks from here on gets new memory. For when those who worked in it are
/// gone. Errors: as obtain_segment().
Result<> forget_segments(const std::string& keeper, const Clock& clock, Deadline deadline);

}  // namespace tutti
