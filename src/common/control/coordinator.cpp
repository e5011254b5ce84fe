// SPDX-License-Identifier: Apache-2.0
#include "common/control/coordinator.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <map>
#include <utility>

#include "common/control/messages.h"
#include "common/control/resumable_stream.h"

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
  // A member's, whose connection may break and be made again.
  struct Place {
    Peer* peer = nullptr;  // null: it is absent
    ResumableStream stream;
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
  Result<> tell_time(Place& place, std::span<const std::byte> control);
  Result<> join(Peer& peer, const FrameHeader& header, std::span<const std::byte> control);
  Result<> hear_report(const MemberId& from, std::span<const std::byte> control);
  Result<CoordinatorFsm::Actions> admit(const Peer& peer, const FrameHeader& header,
                                        std::span<const std::byte> control);
  void refuse(Peer& peer, const FrameHeader& join, const Failure& why);
  void go_on(Place& place, const FrameHeader& join, std::string welcome);
  void on_closed(Peer& peer, const Failure& why);
  void carry_out(const CoordinatorFsm::Actions& actions);
  void send(Place& place, FrameType type, std::string control);
  FrameHeader header(FrameType type) const;
  bool keeps_places() const { return options.machine.absence > Duration::zero(); }
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
  std::map<MemberId, Place> members;
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
  connection->keep_alive(options.machine.absence, KeepAlive::Sign::kAnswer);
  connection->start(sink);
}

Result<> Coordinator::Impl::on_frame(Peer& peer, const FrameHeader& header, std::span<const std::byte> control) {
  if (stopping) return {};
  if (!peer.joined) return join(peer, header, control);
  const auto member = members.find(peer.id);
  if (member == members.end() || member->second.peer != &peer) return {};  // it has come again on another connection
  member->second.stream.count_handled();
  if (header.type == FrameType::kReport) return hear_report(peer.id, control);
  if (header.type == FrameType::kClockQuestion) return tell_time(member->second, control);
  auto actions = machine.frame(peer.id, header, control, clock.now());
  if (!actions) return std::move(actions).error();
  carry_out(*actions);
  return {};
}

// The machine has no use for it.
Result<> Coordinator::Impl::hear_report(const MemberId& from, std::span<const std::byte> control) {
  const auto report = decode<Report>(control);
  if (!report) return report.error();
  if (callbacks.reported) callbacks.reported(from, *report);
  return {};
}

// At once, and without the machine, which decides nothing by it.
Result<> Coordinator::Impl::tell_time(Place& place, std::span<const std::byte> control) {
  const auto question = decode<ClockQuestion>(control);
  if (!question) return question.error();
  const auto now = static_cast<std::uint64_t>(clock.now().time_since_epoch().count());
  send(place, FrameType::kClockAnswer, encode(ClockAnswer{question->sent_ns, now}));
  return {};
}

Result<> Coordinator::Impl::join(Peer& peer, const FrameHeader& header, std::span<const std::byte> control) {
  auto actions = admit(peer, header, control);
  if (!actions) {
    refuse(peer, header, actions.error());
    return {};
  }
  Place& place = members[peer.id];
  // A predecessor whose connection is still open is nobody any more: its frames are of an older generation. And of a
  // connection that broke for the member only nothing is heard either.
  if (place.peer != nullptr) place.peer->connection->close(true);
  if (header.flags != kComesAgain) place.stream = {};
  place.peer = &peer;
  peer.joined = true;
  log.debug("{} joined from {}", describe(peer.id), peer.connection->peer_address());
  // The machine's welcome comes first.
  go_on(place, header, std::move(actions->front().control));
  actions->erase(actions->begin());
  carry_out(*actions);
  return {};
}

Result<CoordinatorFsm::Actions> Coordinator::Impl::admit(const Peer& peer, const FrameHeader& header,
                                                         std::span<const std::byte> control) {
  const auto member = members.find(peer.id);
  const bool is_known = member != members.end() && member->second.stream.reaches(header.step);
  if (header.flags == kComesAgain && !is_known)
    return fail(Errc::kPeerLost, describe(peer.id) + " comes again, and is not known any more");
  return machine.join(peer.id, header, control, clock.now());
}

void Coordinator::Impl::go_on(Place& place, const FrameHeader& join, std::string welcome) {
  FrameHeader joined = header(FrameType::kJoined);
  joined.flags = join.flags;
  joined.step = place.stream.handled();
  place.peer->connection->send(joined, std::move(welcome));
  if (join.flags != kComesAgain) return;
  for (const auto& [missed, bytes] : place.stream.resume(join.step)) place.peer->connection->send(missed, bytes);
}

void Coordinator::Impl::refuse(Peer& peer, const FrameHeader& join, const Failure& why) {
  log.warning("refused {} at {}: {}", describe(peer.id), peer.connection->peer_address(), why.text());
  Reply refusal;
  refusal.ok = false;
  refusal.code = why.code;
  refusal.text = why.text();
  FrameHeader refused = header(FrameType::kJoined);
  refused.flags = join.flags;
  peer.connection->send(refused, encode(refusal));
  peer.connection->close();
}

void Coordinator::Impl::on_closed(Peer& peer, const Failure& why) {
  const auto member = members.find(peer.id);
  if (member != members.end() && member->second.peer == &peer) {
    member->second.peer = nullptr;
    log.debug("{} is gone: {}", describe(peer.id), why.text());
    if (!stopping) carry_out(machine.closed(peer.id, why, clock.now(), peer.connection->silent()));
  }
  peers.erase(peer.connection.get());
  if (stopping && peers.empty()) stopped.set_value();
}

void Coordinator::Impl::carry_out(const CoordinatorFsm::Actions& actions) {
  for (const CoordinatorAction& action : actions) {
    const auto member = members.find(action.to);
    switch (action.kind) {
      case CoordinatorAction::Kind::kSend:
        if (member != members.end()) send(member->second, action.type, action.control);
        break;
      case CoordinatorAction::Kind::kNotice:
        if (callbacks.notice) callbacks.notice(action.happening.text);
        if (callbacks.happened) callbacks.happened(action.happening);
        break;
      case CoordinatorAction::Kind::kHappened:
        if (callbacks.happened) callbacks.happened(action.happening);
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

// What is said to one that is absent waits for it.
void Coordinator::Impl::send(Place& place, FrameType type, std::string control) {
  const FrameHeader frame = header(type);
  if (keeps_places()) place.stream.sent(frame, control);
  if (place.peer == nullptr) return;
  Connection& connection = *place.peer->connection;
  place.stream.acknowledged(connection.acknowledged());
  connection.send(frame, std::move(control));
}

FrameHeader Coordinator::Impl::header(FrameType type) const {
  FrameHeader header;
  header.type = type;
  header.generation = machine.generation();
  return header;
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

Result<> Coordinator::ask(Wish wish) {
  return impl_->loop.run([&]() -> Result<> {
    if (impl_->stopping) return fail(Errc::kUsage, "the run is ending");
    auto actions = impl_->machine.ask(wish, impl_->clock.now());
    if (!actions) return std::move(actions).error();
    impl_->carry_out(*actions);
    return {};
  });
}

Coordinator::Figures Coordinator::figures() const {
  return impl_->loop.run([this]() -> Figures {
    return {impl_->acceptor ? impl_->acceptor->refused() : 0, impl_->machine.stale_frames(), impl_->machine.steps()};
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
