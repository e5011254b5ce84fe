// SPDX-License-Identifier: Apache-2.0
#include "common/control/agent_link.h"

#include <utility>

#include "common/control/assignment.h"

namespace tutti {
namespace {

template <class Message, class F>
Result<> hand_on(std::span<const std::byte> control, F f) {
  const auto message = decode<Message>(control);
  if (!message) return message.error();
  f(*message);
  return {};
}

}  // namespace

struct AgentLink::Impl {
  Impl(Loop& loop, Options options, Callbacks callbacks_, Logger log)
      : callbacks(std::move(callbacks_)),
        link(loop, std::move(options), std::move(log),
             [this](FrameType type, std::span<const std::byte> control) { return on_notice(type, control); }) {}

  Result<> on_notice(FrameType type, std::span<const std::byte> control);

  const Callbacks callbacks;
  bool told = false;  // owned by the loop
  ControlLink link;   // the last: it closes before anything that its callbacks touch goes
};

Result<> AgentLink::Impl::on_notice(FrameType type, std::span<const std::byte> control) {
  switch (type) {
    case FrameType::kStart:
      return hand_on<Start>(control, [this](const Start& start) {
        if (callbacks.on_start) callbacks.on_start(start);
      });
    case FrameType::kEvict:
      return hand_on<Evict>(control, [this](const Evict& evict) {
        if (callbacks.on_evict) callbacks.on_evict(evict.member);
      });
    case FrameType::kLease:
      return hand_on<Lease>(control, [this](const Lease& lease) {
        if (callbacks.on_lease) callbacks.on_lease(TimePoint(Duration(static_cast<std::int64_t>(lease.sent_ns))));
      });
    case FrameType::kStop:
      if (callbacks.on_stop) callbacks.on_stop();
      return {};
    case FrameType::kAssign:
      return hand_on<Assign>(control, [this](const Assign& assign) {
        if (callbacks.on_assign) callbacks.on_assign(assign.share);
      });
    case FrameType::kShutdown:
      return hand_on<Shutdown>(control, [this](const Shutdown& shutdown) {
        link.ignore_end();
        if (!std::exchange(told, true)) callbacks.on_shutdown(shutdown.exit_code);
      });
    default:
      return fail(Errc::kProtocol, "the coordinator sent a frame that is not for agents");
  }
}

AgentLink::AgentLink() = default;
AgentLink::~AgentLink() = default;

Result<std::unique_ptr<AgentLink>> AgentLink::join(Loop& loop, Options options, Callbacks callbacks, Logger log) {
  std::unique_ptr<AgentLink> agent(new AgentLink);
  agent->impl_ = std::make_unique<Impl>(loop, std::move(options), std::move(callbacks), std::move(log));
  TUTTI_TRY(agent->impl_->link.join());
  agent->impl_->link.on_end(agent->impl_->callbacks.on_lost);
  return agent;
}

const std::string& AgentLink::local_address() const noexcept {
  return impl_->link.local_address();
}

void AgentLink::child_exited(const MemberId& child, int wait_status, std::uint64_t step, std::string last_error,
                             std::string doing) {
  ChildExited message;
  message.member = child;
  message.wait_status = wait_status;
  message.step = step;
  message.last_error = std::move(last_error);
  message.doing = std::move(doing);
  impl_->link.send(FrameType::kChildExited, encode(message));
}

void AgentLink::heartbeat(TimePoint now, std::vector<ChildBeat> children) {
  const auto sent = static_cast<std::uint64_t>(now.time_since_epoch().count());
  impl_->link.send(FrameType::kHeartbeat, encode(Heartbeat{sent, std::move(children)}));
}

void AgentLink::report(std::string report) {
  impl_->link.send_if_connected(FrameType::kReport, std::move(report), 0);
}

void AgentLink::report_failure(const Failure& failure) {
  const PeerIdentity& self = impl_->link.options().credentials.self;
  impl_->link.send(FrameType::kAbort, encode(Abort{failure.code, {self.role, self.rank}, failure.text()}));
}

void AgentLink::done() {
  impl_->link.send(FrameType::kAgentDone, {});
}

}  // namespace tutti
