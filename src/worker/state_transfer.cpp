// SPDX-License-Identifier: Apache-2.0
#include "worker/state_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <map>
#include <utility>

#include "common/bounded_archive.h"
#include "worker/completion.h"

namespace tutti::worker {
namespace {

constexpr std::size_t kPartBytesMax = 8u << 20;

Failure interrupted() {
  return fail(Errc::kSuperseded, "a new generation of the run has begun while a state was on its way");
}

FrameHeader header_of(FrameType type, const Credentials& credentials) {
  FrameHeader header;
  header.type = type;
  header.generation = credentials.self.generation;
  header.sender = static_cast<std::uint16_t>(credentials.self.rank);
  return header;
}

std::vector<std::span<const std::byte>> cut(const std::vector<std::span<const std::byte>>& parts) {
  std::vector<std::span<const std::byte>> pieces;
  for (std::span<const std::byte> rest : parts) {
    while (!rest.empty()) {
      pieces.push_back(rest.first(std::min(rest.size(), kPartBytesMax)));
      rest = rest.subspan(pieces.back().size());
    }
  }
  return pieces;
}

/// Closes what is open and waits for that: afterwards the sink is called no more.
template <class Impl>
void shut(Loop& loop, std::shared_ptr<Impl> impl) {
  loop.run([&] { impl->shut(); });
  impl->gone.get_future().wait();
  loop.run([&] { impl.reset(); });
}

}  // namespace

struct StateDonor::Impl final : FrameSink {
  Impl(Loop& loop_, Credentials credentials_, std::vector<int> newcomers_,
       const std::vector<std::span<const std::byte>>& parts, const Clock& clock_, Logger log_)
      : loop(loop_),
        credentials(std::move(credentials_)),
        missing(std::move(newcomers_)),
        pieces(cut(parts)),
        clock(clock_),
        log(std::move(log_)) {
    for (const auto& piece : pieces) bytes += piece.size();
  }

  Result<> listen(const std::string& address) {
    Acceptor::Options options;
    options.address = address;
    auto listening = Acceptor::listen(loop.context(), options, credentials, clock, log,
                                      [this](std::shared_ptr<Connection> peer) { give(std::move(peer)); });
    if (!listening) return listening.error();
    acceptor = std::move(*listening);
    return {};
  }

  void give(std::shared_ptr<Connection> peer) {
    const PeerIdentity& who = peer->peer();
    const bool is_newcomer = who.role == Role::kWorker && who.generation == credentials.self.generation &&
                             std::ranges::count(missing, who.rank) != 0;
    if (ending || !is_newcomer) return;
    peer->start(*this);
    peer->send(header_of(FrameType::kState, credentials), encode(StateHead{bytes}));
    for (const auto& piece : pieces) peer->send(header_of(FrameType::kStatePart, credentials), {}, piece);
    Connection* const key = peer.get();
    peers.emplace(key, std::move(peer));
  }

  Result<std::span<std::byte>> payload_place(Connection&, const FrameHeader&, std::span<const std::byte>) override {
    return fail(Errc::kProtocol, "a newcomer sent tensor bytes");
  }
  Result<> on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte>,
                    std::span<std::byte>) override {
    if (header.type != FrameType::kStateTaken) return fail(Errc::kProtocol, "a newcomer sent a frame it never sends");
    std::erase(missing, from.peer().rank);
    if (missing.empty()) completion.set({});
    return {};
  }
  void on_closed(Connection& connection, const Failure&) override {
    peers.erase(&connection);
    if (ending && peers.empty()) gone.set_value();
  }

  void shut() {
    ending = true;
    acceptor.reset();
    if (peers.empty()) return gone.set_value();
    for (const auto& [key, peer] : peers) peer->close(true);
  }

  Loop& loop;
  const Credentials credentials;
  std::vector<int> missing;
  const std::vector<std::span<const std::byte>> pieces;
  const Clock& clock;
  const Logger log;
  std::uint64_t bytes = 0;
  std::unique_ptr<Acceptor> acceptor;
  std::map<Connection*, std::shared_ptr<Connection>> peers;
  Endpoint endpoint;
  bool ending = false;
  Completion completion;
  std::promise<void> gone;
};

StateDonor::StateDonor() = default;

Result<std::unique_ptr<StateDonor>> StateDonor::start(Loop& loop, const std::string& address, Credentials credentials,
                                                      std::vector<int> newcomers,
                                                      std::vector<std::span<const std::byte>> parts, const Clock& clock,
                                                      Logger log) {
  auto impl = std::make_shared<Impl>(loop, std::move(credentials), std::move(newcomers), parts, clock, std::move(log));
  TUTTI_TRY(loop.run([&] { return impl->listen(address); }));
  impl->endpoint = impl->acceptor->endpoint();
  std::unique_ptr<StateDonor> donor(new StateDonor);
  donor->impl_ = std::move(impl);
  return donor;
}

StateDonor::~StateDonor() {
  Loop& loop = impl_->loop;
  shut(loop, std::move(impl_));
}

Endpoint StateDonor::endpoint() const {
  return impl_->endpoint;
}

Result<> StateDonor::wait(Deadline deadline) {
  return impl_->completion.wait(deadline, "a newcomer has not taken its state in time");
}

void StateDonor::interrupt() {
  impl_->completion.set(interrupted());
}

struct StateReceiver::Impl final : FrameSink, std::enable_shared_from_this<Impl> {
  Impl(Loop& loop_, Credentials credentials_, std::uint64_t bytes_max_)
      : loop(loop_), credentials(std::move(credentials_)), bytes_max(bytes_max_) {}

  void begin(const Endpoint& donor, Duration timeout) {
    connect(loop.context(), donor, credentials, timeout,
            [self = shared_from_this()](Result<std::shared_ptr<Connection>> connected) {
              self->attach(std::move(connected));
            });
  }

  // Nobody waits for it who is ending: a survivor's host that is cut off would hold up the next try.
  void attach(Result<std::shared_ptr<Connection>> connected) {
    if (ending) return;
    if (!connected) {
      completion.set(std::move(connected).error().wrap("the survivor that has the state cannot be reached"));
      return;
    }
    connection = std::move(*connected);
    connection->start(*this);
  }

  Result<std::span<std::byte>> payload_place(Connection&, const FrameHeader& header,
                                             std::span<const std::byte>) override {
    if (header.type != FrameType::kStatePart || header.payload_bytes > state.size - received) {
      return fail(Errc::kProtocol, fmt::format("a survivor sent {} bytes, {} of its state are missing",
                                               header.payload_bytes, state.size - received));
    }
    return std::span(state.bytes.get() + received, header.payload_bytes);
  }

  Result<> on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                    std::span<std::byte> payload) override {
    if (header.type == FrameType::kState && state.bytes == nullptr) {
      const auto head = decode<StateHead>(control);
      if (!head) return head.error();
      if (head->bytes > bytes_max) {
        return fail(Errc::kProtocol, fmt::format("a survivor has a state of {} bytes, this program's can have {}",
                                                 head->bytes, bytes_max));
      }
      state.size = head->bytes;
      state.bytes = std::make_unique_for_overwrite<std::byte[]>(state.size);
    } else if (header.type != FrameType::kStatePart) {
      return fail(Errc::kProtocol, "a survivor sent a frame that is no part of a state");
    }
    received += payload.size();
    if (received == state.size) {
      from.send(header_of(FrameType::kStateTaken, credentials), {});
      completion.set({});
    }
    return {};
  }

  void on_closed(Connection&, const Failure& why) override {
    completion.set(Failure(why).wrap("the survivor that has the state was lost"));
    connection.reset();
    if (ending) gone.set_value();
  }

  void shut() {
    ending = true;
    if (connection) return connection->close();  // the last frame is still to be written
    gone.set_value();
  }

  Loop& loop;
  const Credentials credentials;
  const std::uint64_t bytes_max;
  std::shared_ptr<Connection> connection;
  State state;
  std::size_t received = 0;
  bool ending = false;
  Completion completion;
  std::promise<void> gone;
};

StateReceiver::StateReceiver() = default;

std::unique_ptr<StateReceiver> StateReceiver::start(Loop& loop, const Endpoint& donor, Credentials credentials,
                                                    std::uint64_t bytes_max, Duration timeout) {
  std::unique_ptr<StateReceiver> receiver(new StateReceiver);
  receiver->impl_ = std::make_shared<Impl>(loop, std::move(credentials), bytes_max);
  loop.run([&] { receiver->impl_->begin(donor, timeout); });
  return receiver;
}

StateReceiver::~StateReceiver() {
  Loop& loop = impl_->loop;
  shut(loop, std::move(impl_));
}

Result<StateReceiver::State> StateReceiver::wait(Deadline deadline) {
  TUTTI_TRY(impl_->completion.wait(deadline, "the state of a survivor has not arrived in time"));
  return impl_->loop.run([this] { return std::move(impl_->state); });
}

void StateReceiver::interrupt() {
  impl_->completion.set(interrupted());
}

}  // namespace tutti::worker
