// SPDX-License-Identifier: Apache-2.0
// What agent 0 does besides: it makes the run's folder, its secret and its coordinator, and tells the user how the run
// ended. Thread safety: the main thread; what the coordinator calls back comes from the loop and is kept under a lock.
#pragma once

#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/monitor/watched_coordinator.h"
#include "common/status_line.h"
#include "launch/resize.h"
#include "launch/run_card.h"
#include "launch/run_plan.h"

namespace tutti::launch {

class Head {
 public:
  /// Errors: kUnavailable when the port is taken, naming its holder; kIo when the folder cannot be made;
  /// kAuthentication for a secret file that others can read.
  static Result<std::unique_ptr<Head>> start(Loop& loop, const RunPlan& plan, const std::string& address,
                                             const Clock& clock, StatusLine& screen, Logger log, bool outlives_agents);
  ~Head();

  const RunCard& card() const noexcept { return card_; }
  /// The run's exit code, once every member answered the coordinator; kTimeout when some did not.
  Result<int> finished(Deadline deadline);
  std::vector<int> lost_agents() const;
  /// Where the run can be watched; empty: nowhere.
  std::string page() const { return coordinator_->page(); }
  /// What the coordinator had to say to the user, in its order.
  std::vector<std::string> lines() const;

 private:
  Head() = default;
  Result<> make_card(const RunPlan& plan);
  Result<> start_coordinator(Loop& loop, Coordinator::Options options, const RunPlan& plan, const std::string& address,
                             const Clock& clock, StatusLine& screen, Logger log);

  RunCard card_;
  std::promise<int> exit_code_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;                            // guarded by mutex_
  std::unique_ptr<monitor::WatchedCoordinator> coordinator_;  // it calls back into the above until it is gone
  std::optional<WishReader> wishes_;                          // last: it calls the coordinator
};

/// The secret that `card` speaks of.
Result<Secret> secret_of(const RunCard& card, const RunConfig& config);

}  // namespace tutti::launch
