// SPDX-License-Identifier: Apache-2.0
// A process' way to the coordinator: what common/control/control_link.h and member.h do with threads, here with
// functions that are called when the answer comes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/bounded_archive.h"
#include "common/control/messages.h"
#include "tests/sim/link.h"

namespace tutti::sim {

class Membership final : public LinkSink {
 public:
  using Done = std::function<void(const Result<Reply>&)>;
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_joined() = 0;
    /// Requests under way are forgotten.
    virtual void on_regroup(const Regroup& regroup) = 0;
    /// kStart, kEvict, kShutdown: for agents.
    virtual Result<> on_order(FrameType type, std::span<const std::byte> control) = 0;
    /// The run is over, or the coordinator cannot be reached.
    virtual void on_run_ended(const Failure& why) = 0;
  };

  Membership(Process& process, Owner& owner, std::uint32_t generation);

  void join(int workers);
  /// `done` is called unless a new generation begins before.
  template <class Message>
  void request(FrameType type, Message message, Duration wait, Done done) {
    message.request = expect(wait, std::move(done));
    message.wait_ns = static_cast<std::uint64_t>(wait.count());
    tell(type, encode(message));
  }
  void gather(const GatherKey& key, std::string bytes, Duration wait, Done done);
  void tell(FrameType type, const std::string& control);
  void progress(std::uint64_t step);

  std::uint32_t generation() const noexcept { return generation_; }

  void on_open(Link& link) override;
  Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header,
                                             std::span<const std::byte> control) override;
  Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) override;
  void on_closed(Link& link, const Failure& why) override;

 private:
  std::uint64_t expect(Duration wait, Done done);
  Result<> on_reply(std::span<const std::byte> control);

  Process& process_;
  Owner& owner_;
  std::uint32_t generation_;
  std::uint64_t step_ = 0;
  int workers_ = 0;
  std::uint64_t next_request_ = 1;
  std::map<std::uint64_t, Done> awaited_;
  std::shared_ptr<Link> link_;
};

}  // namespace tutti::sim
