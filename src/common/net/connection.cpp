// SPDX-License-Identifier: Apache-2.0
#include "common/net/connection.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/assert.h"
#include "common/net/frame_reader.h"
#include "common/net/frame_writer.h"
#include "common/net/socket_options.h"

namespace tutti {
namespace {

using ErrorCode = boost::system::error_code;

// How long a close waits for what is queued and for the peer to close.
constexpr auto kLinger = std::chrono::seconds(2);
// A peer that does not read costs so much memory at most.
constexpr std::size_t kQueuedBytesMax = 64 << 20;

Failure closed_here() {
  return fail(Errc::kCancelled, "the connection was closed by this side");
}

}  // namespace

struct Connection::Impl {
  // kUnwritable: a write failed, and what the peer sent before is still to be read.
  enum class State { kOpen, kUnwritable, kFlushing, kLingering, kClosed };

  Impl(Connection& owner, Socket socket_, PeerIdentity peer_)
      : self(owner),
        socket(std::move(socket_)),
        peer(peer_),
        peer_address(remote_text(socket)),
        local_address(tutti::local_address(socket)),
        linger(socket.get_executor()),
        alive_timer(socket.get_executor()),
        reader(
            owner, socket, [this](const Failure& why) { finish(why); },
            [this](const FrameHeader& word) {
              if (alive) alive->heard(word);
            }),
        writer(
            owner, socket, [this] { on_flushed(); }, [this](const Failure& why) { on_unwritable(why); }) {}

  void keep_alive();
  void close_softly();
  void on_flushed();
  void on_unwritable(const Failure& why);
  void finish_later(Failure why);
  void finish(Failure why);

  Connection& self;
  Socket socket;
  const PeerIdentity peer;
  const std::string peer_address;
  const std::string local_address;
  boost::asio::steady_timer linger, alive_timer;
  std::optional<KeepAlive> alive;
  FrameReader reader;
  FrameWriter writer;
  FrameSink* sink = nullptr;
  State state = State::kOpen;
};

void Connection::Impl::keep_alive() {
  if (state != State::kOpen) return;
  alive->look(reader.bytes(), std::chrono::steady_clock::now());
  if (alive->is_dead()) {
    return finish(fail(Errc::kTimeout, "nothing has been heard of the other side for " +
                                           std::to_string(to_seconds(alive->silent())) + " s"));
  }
  writer.push({alive->word(reader.handled()), {}, {}, {}, nullptr});
  alive_timer.expires_after(alive->period());
  alive_timer.async_wait([this, keep = self.shared_from_this()](const ErrorCode& error) {
    if (!error) keep_alive();
  });
}

// A socket that is closed while the peer's bytes lie unread in it sends a reset, which may overtake our last frames. So
// the end is told first, and what still comes is read and dropped.
void Connection::Impl::close_softly() {
  state = State::kFlushing;
  reader.discard();
  finish_later(closed_here());
  if (writer.idle()) on_flushed();
}

void Connection::Impl::on_flushed() {
  if (state != State::kFlushing) return;
  if (!sink) return finish(closed_here());
  state = State::kLingering;
  ErrorCode ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
}

// The peer may have said why it closed: its last frames are read before the connection is given up.
void Connection::Impl::on_unwritable(const Failure& why) {
  if (state != State::kOpen) return finish(why);
  state = State::kUnwritable;
  finish_later(why);
}

void Connection::Impl::finish_later(Failure why) {
  linger.expires_after(kLinger);
  linger.async_wait([this, keep = self.shared_from_this(), why = std::move(why)](const ErrorCode& error) {
    if (!error) finish(why);
  });
}

void Connection::Impl::finish(Failure why) {
  if (state == State::kClosed) return;
  if (state == State::kFlushing || state == State::kLingering) why = closed_here();
  state = State::kClosed;
  ErrorCode ignored;
  socket.close(ignored);
  linger.cancel();
  alive_timer.cancel();
  boost::asio::post(socket.get_executor(), [this, keep = self.shared_from_this(), why = std::move(why)] {
    for (auto& frame : writer.take_unsent()) {
      if (frame.sent) frame.sent(false);
    }
    if (sink) sink->on_closed(self, why);
  });
}

Connection::Connection(Socket socket, PeerIdentity peer)
    : impl_(std::make_unique<Impl>(*this, std::move(socket), peer)) {
  tune(impl_->socket);
}

Connection::~Connection() = default;

void Connection::measure(CopyMeter* meter) noexcept {
  impl_->reader.measure(meter);
  impl_->writer.measure(meter);
}

void Connection::keep_alive(Duration timeout, KeepAlive::Sign sign) {
  if (timeout > Duration::zero()) impl_->alive.emplace(timeout, sign);
}

void Connection::start(FrameSink& sink) {
  TUTTI_ASSERT(impl_->sink == nullptr, "a connection is started once");
  impl_->sink = &sink;
  impl_->reader.start(sink);
  if (impl_->alive) impl_->keep_alive();
}

void Connection::send(FrameHeader header, std::string control, std::span<const std::byte> payload,
                      std::function<void(bool ok)> sent, std::optional<std::uint32_t> payload_crc) {
  TUTTI_ASSERT(control.size() <= kControlBytesMax, "the peer would refuse this control part");
  TUTTI_ASSERT(payload.size() <= kPayloadBytesMax, "the peer would refuse this payload");
  if (impl_->state != Impl::State::kOpen) {
    if (sent) boost::asio::post(impl_->socket.get_executor(), [sent = std::move(sent)] { sent(false); });
    return;
  }
  impl_->writer.push({header, std::move(control), payload, payload_crc, std::move(sent)});
  if (impl_->writer.queued_bytes() > kQueuedBytesMax) {
    impl_->finish(fail(Errc::kPeerLost, "the other side does not read what it is sent"));
  }
}

void Connection::close(bool now) {
  if (now || impl_->state == Impl::State::kUnwritable) return impl_->finish(closed_here());
  if (impl_->state == Impl::State::kOpen) impl_->close_softly();
}

const PeerIdentity& Connection::peer() const noexcept {
  return impl_->peer;
}
const std::string& Connection::peer_address() const noexcept {
  return impl_->peer_address;
}
const std::string& Connection::local_address() const noexcept {
  return impl_->local_address;
}
std::uint64_t Connection::bytes_sent() const noexcept {
  return impl_->writer.bytes();
}
std::uint64_t Connection::bytes_received() const noexcept {
  return impl_->reader.bytes();
}
Duration Connection::silent() const noexcept {
  return impl_->alive ? impl_->alive->silent() : Duration::zero();
}
std::uint64_t Connection::acknowledged() const noexcept {
  return impl_->alive ? impl_->alive->acknowledged() : 0;
}

}  // namespace tutti
