// SPDX-License-Identifier: Apache-2.0
#include "tests/chaos/proxy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/support/run_tutti.h"

namespace tutti::testing {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kBufferBytes = 1u << 20;
constexpr auto kAskAgain = std::chrono::milliseconds(2);
constexpr auto kAsResult = asio::as_tuple(asio::use_awaitable);

asio::awaitable<void> pause(std::chrono::milliseconds duration) {
  asio::steady_timer timer(co_await asio::this_coro::executor, duration);
  co_await timer.async_wait(kAsResult);
}

}  // namespace

/// The two ends of one connection.
struct Proxy::Pair {
  explicit Pair(asio::io_context& context) : client(context), server(context) {}
  Tcp::socket& from(bool to_server) { return to_server ? client : server; }
  Tcp::socket& to(bool to_server) { return to_server ? server : client; }

  void end(bool by_reset) {
    for (Tcp::socket* socket : {&client, &server}) {
      boost::system::error_code ignored;
      if (by_reset) socket->set_option(asio::socket_base::linger(true, 0), ignored);
      socket->shutdown(Tcp::socket::shutdown_send, ignored);
      socket->close(ignored);
    }
  }

  Tcp::socket client, server;
  Link link;
};

Proxy::Proxy(const std::string& folder, Script script)
    : path_(folder + "/proxy"), script_(std::move(script)), questions_(loop_.context(), Local::endpoint(path_)) {
  asio::co_spawn(loop_.context(), answer_all(), asio::detached);
}

Proxy::~Proxy() {
  loop_.run([this] { questions_.close(); });
  loop_.context().stop();
}

Environment Proxy::environment() const {
  return {{"LD_PRELOAD", bin_folder() + "/libtest_redirect.so"}, {"CHAOS_PROXY", path_}};
}

void Proxy::play(Script script) {
  loop_.run([&] { script_ = std::move(script); });
}

Decision Proxy::decide(const Piece& piece) {
  return script_ ? script_(piece) : Decision{};
}

asio::awaitable<void> Proxy::answer_all() {
  while (questions_.is_open()) {
    auto [error, asker] = co_await questions_.async_accept(kAsResult);
    if (!error) asio::co_spawn(loop_.context(), answer(std::move(asker)), asio::detached);
  }
}

asio::awaitable<void> Proxy::answer(Local::socket asker) {
  ProxyQuestion question;
  const auto [error, read] = co_await asio::async_read(asker, asio::buffer(&question, sizeof question), kAsResult);
  if (error) co_return;
  Tcp::acceptor acceptor(loop_.context(), Tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const std::uint16_t port = acceptor.local_endpoint().port();
  asio::co_spawn(loop_.context(), join(std::move(acceptor), question), asio::detached);
  co_await asio::async_write(asker, asio::buffer(&port, sizeof port), kAsResult);
}

asio::awaitable<void> Proxy::join(Tcp::acceptor acceptor, ProxyQuestion question) {
  const auto pair = std::make_shared<Pair>(loop_.context());
  pair->link.pid = question.pid;
  pair->link.self.rank = -1;
  auto [accept_error] = co_await acceptor.async_accept(pair->client, kAsResult);
  if (accept_error) co_return;
  ++connections_;
  auto [error] = co_await pair->server.async_connect({asio::ip::address_v4::loopback(), question.port}, kAsResult);
  if (error) co_return pair->end(true);
  for (Tcp::socket* socket : {&pair->client, &pair->server}) {
    boost::system::error_code ignored;
    socket->set_option(Tcp::no_delay(true), ignored);
  }
  for (const bool to_server : {true, false}) asio::co_spawn(loop_.context(), pump(pair, to_server), asio::detached);
}

asio::awaitable<void> Proxy::pump(std::shared_ptr<Pair> pair, bool to_server) {
  StreamWatch watch(pair->link, to_server);
  std::vector<std::byte> buffer(kBufferBytes);
  std::size_t held = 0;
  while (true) {
    const auto [error, read] = co_await pair->from(to_server).async_read_some(asio::buffer(buffer) + held, kAsResult);
    if (error) break;
    held += read;
    std::size_t done = 0;
    while (done < held) {
      const auto piece = watch.next(std::span(buffer).subspan(done, held - done));
      if (!piece) break;
      if (!co_await deal_with(*pair, *piece, buffer.data() + done, watch)) co_return;
      done += piece->size;
    }
    std::memmove(buffer.data(), buffer.data() + done, held - done);
    held -= done;
  }
  // What the end of a dead process' stream looks like where the script let the last of it pass.
  boost::system::error_code ignored;
  pair->to(to_server).shutdown(Tcp::socket::shutdown_send, ignored);
}

asio::awaitable<bool> Proxy::deal_with(Pair& pair, Piece piece, std::byte* bytes, StreamWatch& watch) {
  const bool to_server = piece.to_server;
  while (piece.size > 0) {
    const Decision decision = decide(piece);
    if (decision.delay.count() > 0) co_await pause(decision.delay);
    if (decision.flip && *decision.flip < piece.size) bytes[*decision.flip] ^= std::byte{1};
    const std::size_t passing = std::min(decision.pass, piece.size);
    const auto [error, written] =
        co_await asio::async_write(pair.to(to_server), asio::buffer(bytes, passing), kAsResult);
    if (error) {
      pair.end(false);
      co_return false;
    }
    bytes_ += passing;
    watch.consume(passing);
    bytes += passing;
    piece.size -= passing;
    piece.offset += passing;
    if (piece.size > 0 && decision.rest != Decision::Rest::kAskAgain) {
      pair.end(decision.rest == Decision::Rest::kReset);
      co_return false;
    }
    if (piece.size > 0 && passing == 0) co_await pause(kAskAgain);
  }
  co_return true;
}

}  // namespace tutti::testing
