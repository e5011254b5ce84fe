// SPDX-License-Identifier: Apache-2.0
#include "common/control/coordinator.h"

#include <boost/asio/steady_timer.hpp>
#include <future>
#include <map>
#include <utility>

namespace tutti {

struct Coordinator::Impl : std::enable_shared_from_this<Impl> {
  // A connection that proved the secret, and the member it became with its first frame.
  struct Peer final : FrameSink {
    Peer(Impl& owner_, std::shared_ptr<Connection> connection_)
        : owner(owner_), connection(std::move(connection_)), id{connection->peer().role, connection->peer().rank} {}

    Result<std::span<std::byte>> payload_place(Connection&, const FrameHeader&, std::span<const std::byte>) override {
      return fail(Errc::kProtocol, "tensor bytes for the coordinator");
    }
    Result<> on_frame(Connection&, const FrameHeader& header, std::span<const std::byte> control,
                      std::span<std::byte>) override {
      return owner.on_frame(*this, header, control);
    }
    void on_closed(Connection&, const Failure& why) override { owner.on_closed(*this, why); }

    Impl& owner;
    const std::shared_ptr<Connection> connection;
    const MemberId id;
    bool joined = false;
  };

  Impl(Loop& loop_, Options options_, const Clock& clock_, Logger log_, Callbacks callbacks_)
      : loop(loop_),
        options(std::move(options_)),
        clock(clock_),
        log(std::move(log_)),
        callbacks(std::move(callbacks_)),
        machine(options.machine),
        timer(loop_.context()) {}

  Result<> listen();
  void welcome(std::shared_ptr<Connection> connection);
  Result<> on_frame(Peer& peer, const FrameHeader& header, std::span<const std::byte> control);
  Result<> join(Peer& peer, const FrameHeader& header, std::span<const std::byte> control);
  void refuse(Peer& peer, const Failure& why);
  void on_closed(Peer& peer, const Failure& why);
  void carry_out(const CoordinatorFsm::Actions& actions);
  void send(Peer& peer, FrameType type, std::string control);
  void set_timer();
  void stop();

  Loop& loop;
  const Options options;
  const Clock& clock;
  const Logger log;
  const Callbacks callbacks;
  CoordinatorFsm machine;
  boost::asio::steady_timer timer;
  std::unique_ptr<Acceptor> acceptor;
  Endpoint endpoint;
  std::map<Connection*, std::unique_ptr<Peer>> peers;
  std::map<MemberId, Peer*> members;
  bool stopping = false;
  std::promise<void> stopped;
};

Result<> Coordinator::Impl::listen() {
  Credentials credentials;
  credentials.secret = options.secret;
  credentials.job = options.job;
  auto listening = Acceptor::listen(loop.context(), options.listen, std::move(credentials), clock, log,
                                    [this](std::shared_ptr<Connection> connection) { welcome(std::move(connection)); });
  if (!listening) return std::move(listening).error();
  acceptor = *std::move(listening);
  endpoint = acceptor->endpoint();
  return {};
}

void Coordinator::Impl::welcome(std::shared_ptr<Connection> connection) {
  auto peer = std::make_unique<Peer>(*this, connection);
  Peer& sink = *peer;
  peers[connection.get()] = std::move(peer);
  connection->start(sink);
}

Result<> Coordinator::Impl::on_frame(Peer& peer, const FrameHeader& header, std::span<const std::byte> control) {
  if (stopping) return {};
  if (!peer.joined) return join(peer, header, control);
  auto actions = machine.frame(peer.id, header, control, clock.now());
  if (!actions) return std::move(actions).error();
  carry_out(*actions);
  return {};
}

Result<> Coordinator::Impl::join(Peer& peer, const FrameHeader& header, std::span<const std::byte> control) {
  auto actions = machine.join(peer.id, header, control, clock.now());
  if (!actions) {
    refuse(peer, actions.error());
    return {};
  }
  // A predecessor whose connection is still open is nobody any more: its frames are of an older generation.
  if (const auto before = members.find(peer.id); before != members.end()) before->second->connection->close(true);
  peer.joined = true;
  members[peer.id] = &peer;
  log.debug("{} joined from {}", describe(peer.id), peer.connection->peer_address());
  carry_out(*actions);
  return {};
}

void Coordinator::Impl::refuse(Peer& peer, const Failure& why) {
  log.warning("refused {} at {}: {}", describe(peer.id), peer.connection->peer_address(), why.text());
  Reply refusal;
  refusal.ok = false;
  refusal.code = why.code;
  refusal.text = why.text();
  send(peer, FrameType::kJoined, encode(refusal));
  peer.connection->close();
}

void Coordinator::Impl::on_closed(Peer& peer, const Failure& why) {
  const auto member = members.find(peer.id);
  if (member != members.end() && member->second == &peer) {
    members.erase(member);
    log.debug("{} is gone: {}", describe(peer.id), why.text());
    if (!stopping) carry_out(machine.closed(peer.id, why, clock.now()));
  }
  peers.erase(peer.connection.get());
  if (stopping && peers.empty()) stopped.set_value();
}

void Coordinator::Impl::carry_out(const CoordinatorFsm::Actions& actions) {
  for (const CoordinatorAction& action : actions) {
    const auto member = members.find(action.to);
    switch (action.kind) {
      case CoordinatorAction::Kind::kSend:
        if (member != members.end()) send(*member->second, action.type, action.control);
        break;
      case CoordinatorAction::Kind::kNotice:
        if (callbacks.notice) callbacks.notice(action.line);
        break;
      case CoordinatorAction::Kind::kLine:
        callbacks.print(action.line);
        break;
      case CoordinatorAction::Kind::kFinished:
        callbacks.finished(action.exit_code);
        break;
    }
  }
  set_timer();
}

void Coordinator::Impl::send(Peer& peer, FrameType type, std::string control) {
  FrameHeader header;
  header.type = type;
  header.generation = machine.generation();
  peer.connection->send(header, std::move(control));
}

void Coordinator::Impl::set_timer() {
  const auto deadline = machine.next_deadline();
  if (!deadline) {
    timer.cancel();
    return;
  }
  timer.expires_after(*deadline - clock.now());
  timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && !self->stopping) self->carry_out(self->machine.tick(self->clock.now()));
  });
}

void Coordinator::Impl::stop() {
  stopping = true;
  acceptor.reset();
  timer.cancel();
  if (peers.empty()) return stopped.set_value();
  for (const auto& [connection, peer] : peers) connection->close();
}

Coordinator::Coordinator() = default;

Coordinator::~Coordinator() {
  impl_->loop.run([this] { impl_->stop(); });
  impl_->stopped.get_future().wait();
}

Result<std::unique_ptr<Coordinator>> Coordinator::start(Loop& loop, Options options, const Clock& clock, Logger log,
                                                        Callbacks callbacks) {
  auto impl = std::make_shared<Impl>(loop, std::move(options), clock, std::move(log), std::move(callbacks));
  TUTTI_TRY(loop.run([&] { return impl->listen(); }));
  std::unique_ptr<Coordinator> coordinator(new Coordinator);
  coordinator->impl_ = std::move(impl);
  return coordinator;
}

void Coordinator::resize(int workers) {
  impl_->loop.post([impl = impl_, workers] {
    if (!impl->stopping) impl->carry_out(impl->machine.resize(workers, impl->clock.now()));
  });
}

std::vector<int> Coordinator::lost_agents() const {
  return impl_->loop.run([this] {
    const auto& lost = impl_->machine.lost_agents();
    return std::vector<int>(lost.begin(), lost.end());
  });
}

Endpoint Coordinator::endpoint() const {
  return impl_->endpoint;
}

}  // namespace tutti
