// SPDX-License-Identifier: Apache-2.0
// What a simulated process writes into its status page, as common/pulse.h does with a loop and events.
#pragma once

#include <memory>

#include "common/bootstrap.h"
#include "tests/sim/process.h"

namespace tutti::sim {

class VitalSigns {
 public:
  VitalSigns(Process& process, std::shared_ptr<StatusPage> page) : process_(process), page_(std::move(page)) {}
  /// Beats from now on.
  void begin();
  void begin_step(std::uint64_t step);
  /// For the others, in an exchange: what is waited is counted.
  void begin_wait();
  void end_wait();
  /// The coordinator, for all.
  void ask() { set(Activity::kWaiting); }
  void answered() { set(not_waiting()); }
  void leave() { set(Activity::kLeaving); }
  bool has_lease() const { return !page_->lease_ended(process_.now()); }

 private:
  void beat();
  void set(Activity activity) { page_->set_activity(activity, ++changes_); }
  Activity not_waiting() const { return has_begun_ ? Activity::kWorking : Activity::kStarting; }

  Process& process_;
  const std::shared_ptr<StatusPage> page_;
  bool has_begun_ = false;
  std::uint64_t changes_ = 0;
  std::optional<TimePoint> wait_began_;
  Duration waited_{};
};

}  // namespace tutti::sim
