// SPDX-License-Identifier: Apache-2.0
// Carries out on a socket what a handshake's machine asks for. Both sides are the same loop.
// Thread safety: lives on the loop.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <exception>
#include <memory>
#include <vector>

#include "common/clock.h"
#include "common/net/handshake_fsm.h"
#include "common/result.h"

namespace tutti {

/// Closes a socket when its time is up, unless it is destroyed before.
class SocketDeadline {
 public:
  SocketDeadline(boost::asio::ip::tcp::socket& socket, Duration timeout);
  ~SocketDeadline() { state_->socket = nullptr; }
  SocketDeadline(const SocketDeadline&) = delete;
  SocketDeadline& operator=(const SocketDeadline&) = delete;

  bool passed() const noexcept { return state_->passed; }

 private:
  // Shared with the timer's handler, which may be queued already when this object goes.
  struct State {
    boost::asio::ip::tcp::socket* socket;
    bool passed = false;
  };
  std::shared_ptr<State> state_;
  boost::asio::steady_timer timer_;
};

/// What a coroutine that nobody waits for does with an exception: it leaves the loop.
inline void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

/// Failures are those of the machine, and kPeerLost where the connection ended. `socket` and `machine` live in the
/// caller's coroutine.
template <class Machine>
boost::asio::awaitable<Result<>> shake_hands(boost::asio::ip::tcp::socket& socket, Machine& machine) {
  const auto as_result = boost::asio::as_tuple(boost::asio::use_awaitable);
  std::vector<std::byte> bytes;
  HandshakeAction action = machine.start();
  for (;;) {
    if (!action.send.empty()) {
      auto [error, sent] = co_await boost::asio::async_write(socket, boost::asio::buffer(action.send), as_result);
      if (error && !action.failure) co_return fail(Errc::kPeerLost, "the connection broke in the handshake");
    }
    if (action.failure) co_return *std::move(action.failure);
    if (action.kind == HandshakeAction::Kind::kDone) co_return Result<>();
    bytes.resize(action.need_bytes);
    auto [error, read] = co_await boost::asio::async_read(socket, boost::asio::buffer(bytes), as_result);
    if (error) co_return fail(Errc::kPeerLost, "the other side closed the connection in the handshake");
    action = machine.feed(bytes);
  }
}

}  // namespace tutti
