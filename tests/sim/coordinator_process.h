// SPDX-License-Identifier: Apache-2.0
// The coordinator's machine in a simulated world, with the shell of common/control/coordinator.cpp around it. It lives
// and dies with agent 0.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "common/control/coordinator_fsm.h"
#include "tests/sim/link.h"
#include "tests/sim/settings.h"

namespace tutti::sim {

class CoordinatorProcess final : public Process, public LinkSink {
 public:
  CoordinatorProcess(World& world, Id id, const Job& job);
  std::string name() const override { return "the coordinator"; }
  void start() override;
  std::uint32_t generation() const noexcept { return machine_.generation(); }

  void on_open(Link&) override {}
  Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header,
                                             std::span<const std::byte> control) override;
  Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) override;
  void on_closed(Link& link, const Failure& why) override;

 private:
  struct Peer {
    std::shared_ptr<Link> link;
    bool joined = false;
  };
  static MemberId id_of(const Link& link) { return {link.peer().role, link.peer().rank}; }
  void join(Peer& peer, const FrameHeader& header, std::span<const std::byte> control);
  Result<> handle(const MemberId& from, const FrameHeader& header, std::span<const std::byte> control);
  void carry_out(const CoordinatorFsm::Actions& actions);
  void send(Link& link, FrameType type, const std::string& control);
  void set_timer();
  void check_eviction(const CoordinatorAction& action);

  CoordinatorFsm machine_;
  std::map<const Link*, Peer> peers_;
  std::map<MemberId, Link*> members_;
  std::set<MemberId> failing_;  // they have said so
  std::uint32_t generation_ = 0;
  bool is_restarting_ = false;  // everybody is ended, to begin again
  std::uint64_t timer_ = 0;
};

}  // namespace tutti::sim
