// SPDX-License-Identifier: Apache-2.0
// A coordinator and, where the run is watched, its monitor: each calls the other, and they end in the right order.
// Thread safety: any thread but the loop's.
#pragma once

#include <memory>
#include <string>

#include "common/config.h"
#include "common/control/coordinator.h"
#include "common/monitor/monitor.h"

namespace tutti::monitor {

class WatchedCoordinator {
 public:
  /// Errors and arguments as Coordinator::start's. `callbacks` leaves happened and reported to this.
  static Result<std::unique_ptr<WatchedCoordinator>> start(Loop& loop, Coordinator::Options options, const Clock& clock,
                                                           Logger log, Coordinator::Callbacks callbacks);
  ~WatchedCoordinator();

  /// Serves what there is to see, as `config` says, and leaves the history in `folder`, which is there. Errors: those
  /// of Monitor::start. REQUIRES: no member has joined yet.
  Result<> watch(const RunConfig& config, const std::string& folder);

  Coordinator& coordinator() noexcept { return *coordinator_; }
  /// Where the run can be watched; empty: nowhere.
  std::string page() const { return monitor_ ? monitor_->url() : ""; }

 private:
  WatchedCoordinator(const Clock& clock, Logger log) : clock_(clock), log_(std::move(log)) {}

  const Clock& clock_;
  const Logger log_;
  std::unique_ptr<Monitor> monitor_;  // the coordinator tells it until it is gone
  std::unique_ptr<Coordinator> coordinator_;
};

}  // namespace tutti::monitor
