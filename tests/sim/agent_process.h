// SPDX-License-Identifier: Apache-2.0
// An agent: starts its host's processes, tells the coordinator how they end, and starts and kills them as it is told.
// No process of its outlives it.
#pragma once

#include <map>

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
  void start_child(const MemberId& member, std::uint32_t generation, bool newcomer);
  void end(bool was_told);

  Membership membership_;
  std::map<MemberId, Id> children_;
  bool is_ending_ = false;
};

}  // namespace tutti::sim
