// SPDX-License-Identifier: Apache-2.0
// An agent's connection to the coordinator: it tells how its children end, and is told when the run is over.
// Thread safety: any thread but the loop's; the callbacks run on the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/control/cause.h"
#include "common/control/control_link.h"

namespace tutti {

class AgentLink {
 public:
  using Options = ControlLink::Options;  ///< credentials.self is an agent
  struct Callbacks {
    /// The run is over: end the children that still run, then call done(). Called once.
    std::function<void(int exit_code)> on_shutdown;
    /// A child that was lost is to be started again.
    std::function<void(const Start&)> on_start;
    /// A child is to be killed; its end is reported like any other.
    std::function<void(const MemberId&)> on_evict;
    /// The coordinator has heard the heartbeat that was sent at `sent`.
    std::function<void(TimePoint sent)> on_lease = {};
    /// Children are to stop after their step; the agent stays.
    std::function<void()> on_stop = {};
    /// Another world follows, once no child is left; `share` is what the launcher's plan says of it.
    std::function<void(const std::string& share)> on_assign = {};
    /// The coordinator is gone before it said so: end the children, nobody listens any more. Called at most once.
    std::function<void(const Failure&)> on_lost;
  };
  /// Errors: those of Member::join. A callback may come before this returned.
  static Result<std::unique_ptr<AgentLink>> join(Loop& loop, Options options, Callbacks callbacks, Logger log);
  /// Closes after what was sent is written: the coordinator takes that for a loss of this host unless done() came
  /// first.
  ~AgentLink();

  const std::string& local_address() const noexcept;
  /// `wait_status` as waitpid gave it, `step` from the child's status page, `last_error` the last line it wrote to
  /// stderr, `doing` what its recording says it was doing.
  void child_exited(const MemberId& child, int wait_status, std::uint64_t step, std::string last_error,
                    std::string doing = {});
  /// How its children are, by what they say in their status pages.
  void heartbeat(TimePoint now, std::vector<ChildBeat> children);
  /// How this agent itself is: an encoded Report. One that finds no connection is lost. REQUIRES: called on the loop.
  void report(std::string report);
  /// Tells why this agent itself fails: the cause the user will read.
  void report_failure(const Failure& failure);
  /// The answer to on_shutdown: no child is left.
  void done();

 private:
  AgentLink();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti
