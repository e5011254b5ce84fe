// SPDX-License-Identifier: Apache-2.0
// A worker's part in the trace of its run. Where no agent does it, rank 0 also makes the trace: an empty one at the
// start, before any rank records, and that of all parts when the run has ended.
// Thread safety: the training thread, but part(), which any thread records to.
#pragma once

#include <memory>
#include <string>

#include "common/clock.h"
#include "common/log.h"
#include "common/result.h"
#include "common/trace/part.h"
#include "worker/rendezvous.h"

namespace tutti::worker {

class SessionTrace {
 public:
  /// Null where no trace is configured, or, after a warning, where a process that takes a lost one's place cannot have
  /// a part. Errors: kIo, naming the path; those of the run.
  static Result<std::unique_ptr<SessionTrace>> begin(const Rendezvous& meeting, Deadline deadline, const Logger& log);

  TracePart& part() noexcept { return *part_; }
  /// Makes the trace, if that is this process' to do, once.
  void finish(const Logger& log) noexcept;

 private:
  SessionTrace(std::string trace, std::unique_ptr<TracePart> part) : trace_(std::move(trace)), part_(std::move(part)) {}

  std::string trace_;  // empty: somebody else makes it
  std::unique_ptr<TracePart> part_;
};

}  // namespace tutti::worker
