// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <list>

#include "common/net/connection.h"
#include "common/net/handshake_shell.h"
#include "common/net/port_holder.h"
#include "common/net/refusal_log.h"
#include "common/net/socket_options.h"

namespace tutti {
namespace {

using Tcp = boost::asio::ip::tcp;
using ErrorCode = boost::system::error_code;

// The pause after the system could not give a connection, for lack of descriptors say.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

// A connection that has not proved anything yet.
struct Candidate {
  explicit Candidate(Tcp::socket socket_) : socket(std::move(socket_)), address(remote_address(socket)) {}
  Tcp::socket socket;
  const std::string address;
  bool evicted = false;
};

Failure cannot_listen(const Acceptor::Options& options, const ErrorCode& error) {
  const std::string where = Endpoint{options.address, options.port}.text();
  if (error == boost::asio::error::address_in_use) {
    const auto holder = holder_of_port(options.port);
    return fail(Errc::kUnavailable, "port " + where + " is in use" + (holder ? " by " + *holder : ""));
  }
  return fail(Errc::kUnavailable, "cannot listen on " + where + ": " + error.message());
}

}  // namespace

struct Acceptor::Impl {
  Impl(boost::asio::io_context& context, Options options_, Credentials credentials_, const Clock& clock, Logger log,
       OnConnection on_connection_)
      : options(std::move(options_)),
        credentials(std::move(credentials_)),
        acceptor(context),
        on_connection(std::move(on_connection_)),
        refusals(clock, std::move(log)) {}

  Result<> open();
  ErrorCode open(const Tcp::endpoint& where);
  void admit(std::shared_ptr<Impl> self, Tcp::socket socket);
  Failure reason(const Candidate& candidate, bool timed_out, Failure failure) const;
  void close();

  static boost::asio::awaitable<void> accept_all(std::shared_ptr<Impl> self);
  static boost::asio::awaitable<void> examine(std::shared_ptr<Impl> self, std::shared_ptr<Candidate> candidate);

  const Options options;
  const Credentials credentials;
  Tcp::acceptor acceptor;
  Endpoint endpoint;
  OnConnection on_connection;
  RefusalLog refusals;
  std::list<std::shared_ptr<Candidate>> candidates;  // the oldest first
};

Result<> Acceptor::Impl::open() {
  ErrorCode error;
  const auto address = boost::asio::ip::make_address(options.address, error);
  if (error) return fail(Errc::kConfig, "expected an address in numbers, found '" + options.address + "'");
  const int last = std::max(options.port, options.last_port);
  for (int port = options.port; port <= last; ++port) {
    error = open({address, static_cast<std::uint16_t>(port)});
    if (error != boost::asio::error::address_in_use) break;
  }
  if (error) return cannot_listen(options, error);
  endpoint = {options.address, acceptor.local_endpoint().port()};
  return {};
}

ErrorCode Acceptor::Impl::open(const Tcp::endpoint& where) {
  ErrorCode error, ignored;
  acceptor.close(ignored);
  acceptor.open(where.protocol(), error);
  if (!error) acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(where, error);
  if (!error) acceptor.listen(boost::asio::socket_base::max_listen_connections, error);
  return error;
}

boost::asio::awaitable<void> Acceptor::Impl::accept_all(std::shared_ptr<Impl> self) {
  const auto as_result = boost::asio::as_tuple(boost::asio::use_awaitable);
  boost::asio::steady_timer pause(self->acceptor.get_executor());
  while (self->acceptor.is_open()) {
    auto [error, socket] = co_await self->acceptor.async_accept(as_result);
    if (!self->acceptor.is_open()) break;
    if (!error) {
      self->admit(self, std::move(socket));
    } else {
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(as_result);
    }
  }
}

void Acceptor::Impl::admit(std::shared_ptr<Impl> self, Tcp::socket socket) {
  auto candidate = std::make_shared<Candidate>(std::move(socket));
  candidates.push_back(candidate);
  if (static_cast<int>(candidates.size()) > options.unauthenticated_max) {
    ErrorCode ignored;
    candidates.front()->evicted = true;
    candidates.front()->socket.close(ignored);
    candidates.pop_front();
  }
  boost::asio::co_spawn(acceptor.get_executor(), examine(std::move(self), std::move(candidate)), rethrow);
}

boost::asio::awaitable<void> Acceptor::Impl::examine(std::shared_ptr<Impl> self, std::shared_ptr<Candidate> candidate) {
  ServerHandshakeFsm machine(self->credentials.secret, self->credentials.job, random_nonce());
  auto deadline = std::make_unique<SocketDeadline>(candidate->socket, self->options.handshake_timeout);
  auto proved = co_await shake_hands(candidate->socket, machine);
  const bool timed_out = deadline->passed();
  deadline.reset();
  self->candidates.remove(candidate);
  if (!self->acceptor.is_open()) co_return;
  if (proved && candidate->socket.is_open()) {
    self->on_connection(std::make_shared<Connection>(std::move(candidate->socket), machine.peer()));
  } else if (!proved) {
    self->refusals.refuse(candidate->address, self->reason(*candidate, timed_out, std::move(proved).error()));
  }
}

// Where this side closed the socket, the failure tells only that it is closed.
Failure Acceptor::Impl::reason(const Candidate& candidate, bool timed_out, Failure failure) const {
  if (candidate.evicted) return fail(Errc::kUnavailable, "too many connections that prove nothing");
  if (timed_out) return fail(Errc::kTimeout, "no proof in time");
  return failure;
}

void Acceptor::Impl::close() {
  ErrorCode ignored;
  acceptor.close(ignored);
  for (const auto& candidate : candidates) candidate->socket.close(ignored);
}

Acceptor::Acceptor() = default;

Acceptor::~Acceptor() {
  close();
}

Result<std::unique_ptr<Acceptor>> Acceptor::listen(boost::asio::io_context& context, Options options,
                                                   Credentials credentials, const Clock& clock, Logger log,
                                                   OnConnection on_connection) {
  auto impl = std::make_shared<Impl>(context, std::move(options), std::move(credentials), clock, std::move(log),
                                     std::move(on_connection));
  TUTTI_TRY(impl->open());
  boost::asio::co_spawn(context, Impl::accept_all(impl), rethrow);
  std::unique_ptr<Acceptor> acceptor(new Acceptor);
  acceptor->impl_ = std::move(impl);
  return acceptor;
}

Endpoint Acceptor::endpoint() const {
  return impl_->endpoint;
}
std::uint64_t Acceptor::refused() const noexcept {
  return impl_->refusals.refused();
}
void Acceptor::close() {
  impl_->close();
}

}  // namespace tutti
