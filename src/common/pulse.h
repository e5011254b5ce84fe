// SPDX-License-Identifier: Apache-2.0
// The signs of life of one process in its status page, for its agent to read. The loop thread beats: a process that is
// stopped, or whose loop is stuck, does not. What the training thread is at comes from the events that it records: it
// waits between the begin and the end of a wait or a question, and works at all other times.
// Thread safety: made anywhere; events of waits, questions and iterations come from one thread at a time, others from
// any.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "common/bootstrap.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/log.h"
#include "common/net/loop.h"
#include "common/result.h"

namespace tutti {

/// What of a timeout lies between two heartbeats of an agent. A process beats twice as often.
inline constexpr int kHeartbeatsInTimeout = 6;

class Pulse final : public EventSink {
 public:
  /// Beats from now on until the loop ends, also when the Pulse is gone by then.
  static Result<std::unique_ptr<Pulse>> start(Loop& loop, const StatusPage& page, Duration period);
  /// A few stores: no lock, no system call.
  void record(const Event& event) noexcept override;

 private:
  explicit Pulse(StatusPage page) : page_(std::move(page)) {}
  void set(Activity activity) noexcept;
  Activity not_waiting() const noexcept { return has_begun_ ? Activity::kWorking : Activity::kStarting; }

  StatusPage page_;
  // owned by the training thread
  bool has_begun_ = false;
  std::uint64_t changes_ = 0;
  TimePoint wait_began_{};
  Duration waited_{};
};

/// A Pulse for a process of a run with this timeout. Null, after a warning, where the page cannot be had once more: who
/// never beats is not judged by it.
std::unique_ptr<Pulse> start_pulse(Loop& loop, const StatusPage& page, Duration timeout, const Logger& log);

}  // namespace tutti
