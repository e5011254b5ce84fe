// SPDX-License-Identifier: Apache-2.0
// What agent 0 does for the trace of a run: it makes the file at the start, so that there is a whole one from then on,
// anew after 10 s, 20 s, 40 s and so on while the run goes on, and for the last time when all children are gone. Should
// it be killed, its guard does the last.
// Thread safety: the main thread; a thread of its own, which gives way to all others, makes the trace meanwhile.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/log.h"
#include "common/result.h"
#include "launch/orphan_guard.h"

namespace tutti::launch {

class RunTrace {
 public:
  /// `guard` outlives it. `pause`: before it is made for the first time while the run goes on. Errors: kIo, naming the
  /// path.
  static Result<std::unique_ptr<RunTrace>> begin(const std::string& trace, OrphanGuard& guard,
                                                 Duration pause = std::chrono::seconds(10));
  /// Leaves the last trace to the guard, unless finish() made it.
  ~RunTrace();

  /// REQUIRES: nobody records any more.
  void finish(const Logger& log);

 private:
  RunTrace(std::string trace, OrphanGuard& guard, Duration pause);
  void work(Duration pause);
  void stop();

  const std::string trace_;
  OrphanGuard& guard_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> stopping_ = false;  // changed under mutex_
  std::thread thread_;                  // last: it uses the others
};

}  // namespace tutti::launch
