// SPDX-License-Identifier: Apache-2.0
// A survivor's state on its way to the ranks that are behind it: what worker/state_transfer.h does, for the state of a
// simulated training program.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "tests/sim/link.h"
#include "tests/sim/model.h"

namespace tutti::sim {

class StateDonor final : public LinkSink {
 public:
  /// `done` when every taker has all of it. `parameters` stay as they are until then.
  StateDonor(Process& process, std::uint32_t generation, std::set<int> takers, std::uint64_t step,
             const Buckets& parameters, std::function<void()> done);
  ~StateDonor() override;
  Port port() const noexcept { return port_; }

  void on_open(Link& link) override;
  Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header,
                                             std::span<const std::byte> control) override;
  Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) override;
  void on_closed(Link&, const Failure&) override {}

 private:
  Process& process_;
  const std::uint32_t generation_;
  std::set<int> takers_;
  const std::uint64_t step_;
  const Buckets& parameters_;
  const std::function<void()> done_;
  const Port port_;
  std::vector<std::shared_ptr<Link>> links_;
};

class StateReceiver final : public LinkSink {
 public:
  struct State {
    std::uint64_t step = 0;
    Buckets parameters;
  };
  using Done = std::function<void(Result<State>)>;
  StateReceiver(Process& process, std::uint32_t generation, Port donor, Done done);

  void on_open(Link&) override {}
  Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header,
                                             std::span<const std::byte> control) override;
  Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) override;
  void on_closed(Link& link, const Failure& why) override;

 private:
  Process& process_;
  const Done done_;
  Bytes received_;
  std::shared_ptr<Link> link_;
};

}  // namespace tutti::sim
