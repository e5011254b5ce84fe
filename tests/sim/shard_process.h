// SPDX-License-Identifier: Apache-2.0
// A shard's machine in a simulated world, with the shell of ps/server.cpp around it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "common/copy_meter.h"
#include "ps/shard_fsm.h"
#include "tests/sim/child_plan.h"
#include "tests/sim/membership.h"
#include "tests/sim/vital_signs.h"

namespace tutti::sim {

std::string shard_key(int shard);

class ShardProcess final : public Process, public Membership::Owner, public LinkSink {
 public:
  ShardProcess(World& world, Id id, int host, const Job& job, const ChildPlan& plan);
  void start() override;

  void on_joined() override;
  void on_regroup(const Regroup& regroup) override;
  Result<> on_order(FrameType, std::span<const std::byte>) override;
  void on_run_ended(const Failure& why) override;

  void on_open(Link& link) override;
  Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header,
                                             std::span<const std::byte> control) override;
  Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) override;
  void on_closed(Link& link, const Failure& why) override;

 private:
  std::shared_ptr<Link>& lane(int rank, int connection);
  void begin_generation(std::uint32_t generation);
  void publish();
  void drop(std::shared_ptr<Link>& lane);
  Result<> open(Link& from, const FrameHeader& header, std::span<const std::byte> control);
  Result<> push(Link& from, const FrameHeader& header, std::span<const std::byte> control);
  Result<ps::ShardStep> pushed(int rank, const FrameHeader& header, int connection);
  bool share(int rank, const ps::OpenRequest& request);
  void send(const ps::ShardSend& result);

  /// Between the passes of a sum a process may die, as between any two of its actions.
  class SumWatch final : public CopyMeter {
   public:
    struct Died {};
    explicit SumWatch(Process& process) : process_(process) {}
    void count(BytePass, const std::byte*, std::size_t) override;

   private:
    Process& process_;
  };

  Membership membership_;
  VitalSigns signs_;
  const std::shared_ptr<HostMemory> memory_;
  SumWatch sum_watch_{*this};
  std::optional<ps::ShardFsm> machine_;
  Port port_ = 0;
  bool is_published_ = false;
  std::vector<std::shared_ptr<Link>> proving_;             // not open yet
  std::vector<std::vector<std::shared_ptr<Link>>> ranks_;  // by rank and connection
};

}  // namespace tutti::sim
