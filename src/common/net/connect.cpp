// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>

#include "common/net/connection.h"
#include "common/net/handshake_shell.h"

namespace tutti {
namespace {

using Done = std::function<void(Result<std::shared_ptr<Connection>>)>;
using Socket = boost::asio::ip::tcp::socket;
using ErrorCode = boost::system::error_code;

boost::asio::awaitable<Result<>> reach(Socket& socket, const Endpoint& to, const Credentials& credentials) {
  ErrorCode malformed;
  const boost::asio::ip::tcp::endpoint endpoint(boost::asio::ip::make_address(to.host, malformed), to.port);
  if (malformed) co_return fail(Errc::kConfig, "expected an address in numbers, found '" + to.host + "'");

  auto [error] = co_await socket.async_connect(endpoint, boost::asio::as_tuple(boost::asio::use_awaitable));
  if (error == boost::asio::error::connection_refused) co_return fail(Errc::kUnavailable, error.message());
  if (error) co_return fail(Errc::kPeerLost, error.message());
  ClientHandshakeFsm machine(credentials.secret, credentials.job, credentials.self, random_nonce());
  co_return co_await shake_hands(socket, machine);
}

boost::asio::awaitable<Result<>> reach_within(Socket& socket, const Endpoint& to, const Credentials& credentials,
                                              Duration timeout) {
  const SocketDeadline deadline(socket, timeout);
  auto reached = co_await reach(socket, to, credentials);
  if (!reached && deadline.passed()) {
    co_return fail(Errc::kTimeout, "no answer within " + std::to_string(to_seconds(timeout)) + " s");
  }
  co_return reached;
}

boost::asio::awaitable<void> open(Endpoint to, Credentials credentials, Duration timeout, Done done) {
  Socket socket(co_await boost::asio::this_coro::executor);
  auto reached = co_await reach_within(socket, to, credentials, timeout);
  if (reached) {
    const PeerIdentity unnamed;  // the accepting side proved the secret; it has no rank of its own here
    done(std::make_shared<Connection>(std::move(socket), unnamed));
  } else {
    done(std::move(reached).error().wrap("cannot connect to " + to.text()));
  }
}

}  // namespace

void connect(boost::asio::io_context& context, Endpoint to, Credentials credentials, Duration timeout, Done done) {
  boost::asio::co_spawn(context, open(std::move(to), std::move(credentials), timeout, std::move(done)), rethrow);
}

}  // namespace tutti
