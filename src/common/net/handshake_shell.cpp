// SPDX-License-Identifier: Apache-2.0
#include "common/net/handshake_shell.h"

namespace tutti {

SocketDeadline::SocketDeadline(boost::asio::ip::tcp::socket& socket, Duration timeout)
    : state_(std::make_shared<State>(State{&socket})), timer_(socket.get_executor(), timeout) {
  timer_.async_wait([state = state_](const boost::system::error_code& error) {
    if (error || !state->socket) return;
    state->passed = true;
    boost::system::error_code ignored;
    state->socket->close(ignored);
  });
}

}  // namespace tutti
