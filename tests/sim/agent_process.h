// SPDX-License-Identifier: Apache-2.0
// An agent: starts its host's processes, tells the coordinator how they are and how they end, and starts and kills them
// as it is told. What the coordinator answers to its heartbeats is their lease. No process of its outlives it.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "launch/child_watch.h"
#include "tests/sim/child_plan.h"
#include "tests/sim/membership.h"

namespace tutti::sim {

class AgentProcess final : public Process, public Membership::Owner {
 public:
  AgentProcess(World& world, Id id, int host, const Job& job);
  void start() override { membership_.join(0); }
  void child_exited(const MemberId& child, int wait_status) override;

  void on_joined() override;
  void on_regroup(const Regroup&) override {}
  Result<> on_order(FrameType type, std::span<const std::byte> control) override;
  void on_run_ended(const Failure& why) override;

 private:
  struct Child {
    Id process = 0;
    std::shared_ptr<StatusPage> status;
    launch::ChildWatch watch;
  };

  void start_child(const MemberId& member, std::uint32_t generation, bool newcomer);
  void beat();
  void extend_lease(TimePoint sent);
  void end(bool was_told);

  Membership membership_;
  const std::shared_ptr<HostMemory> memory_;
  std::map<MemberId, Child> children_;
  std::optional<TimePoint> lease_end_;
  bool is_ending_ = false;
};

}  // namespace tutti::sim
