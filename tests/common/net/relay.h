// SPDX-License-Identifier: Apache-2.0
// Stands between processes under test and a port on loopback: hands every byte on, until it is told to end all
// connections, or to hold what comes.
// Thread safety: any thread but its own.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <list>
#include <memory>

#include "common/net/connection.h"
#include "common/net/loop.h"

namespace tutti::testing {

class Relay {
 public:
  explicit Relay(const Endpoint& to)
      : to_(boost::asio::ip::make_address(to.host), to.port),
        acceptor_(loop_.context(), Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)) {
    boost::asio::co_spawn(loop_.context(), accept_all(), boost::asio::detached);
  }
  ~Relay() { loop_.context().stop(); }

  Endpoint endpoint() const { return {"127.0.0.1", acceptor_.local_endpoint().port()}; }
  int connections() const noexcept { return connections_; }
  /// Ends all connections that there are by a reset.
  void cut() {
    loop_.run([this] {
      for (const auto& weak : pairs_) {
        if (const auto pair = weak.lock()) pair->end();
      }
      pairs_.clear();
    });
  }
  void hold(bool holds) { holds_ = holds; }

 private:
  using Tcp = boost::asio::ip::tcp;
  static constexpr auto kAsResult = boost::asio::as_tuple(boost::asio::use_awaitable);
  struct Pair {
    explicit Pair(boost::asio::io_context& context) : sides{Tcp::socket(context), Tcp::socket(context)} {}
    void end() {
      for (Tcp::socket& side : sides) {
        boost::system::error_code ignored;
        side.set_option(boost::asio::socket_base::linger(true, 0), ignored);
        side.close(ignored);
      }
    }
    std::array<Tcp::socket, 2> sides;
  };

  // Where a coroutine's beginning is inlined, g++ 12 takes its own pair of new and delete for a mismatch.
  [[gnu::noinline]] boost::asio::awaitable<void> accept_all() {
    while (true) {
      const auto pair = std::make_shared<Pair>(loop_.context());
      const auto [error] = co_await acceptor_.async_accept(pair->sides[0], kAsResult);
      if (error) co_return;
      const auto [refused] = co_await pair->sides[1].async_connect(to_, kAsResult);
      if (refused) continue;
      ++connections_;
      pairs_.push_back(pair);
      for (const std::size_t from : {0u, 1u})
        boost::asio::co_spawn(loop_.context(), pump(pair, from), boost::asio::detached);
    }
  }
  [[gnu::noinline]] boost::asio::awaitable<void> pump(std::shared_ptr<Pair> pair, std::size_t from) {
    std::array<std::byte, 4096> bytes;
    boost::asio::steady_timer pause(loop_.context());
    while (true) {
      const auto [error, read] = co_await pair->sides[from].async_read_some(boost::asio::buffer(bytes), kAsResult);
      if (error) break;
      while (holds_) {
        pause.expires_after(std::chrono::milliseconds(2));
        co_await pause.async_wait(kAsResult);
      }
      const auto written =
          co_await boost::asio::async_write(pair->sides[1 - from], boost::asio::buffer(bytes.data(), read), kAsResult);
      if (std::get<0>(written)) break;
    }
    boost::system::error_code ignored;
    pair->sides[1 - from].shutdown(Tcp::socket::shutdown_send, ignored);
  }

  const Tcp::endpoint to_;
  std::atomic<bool> holds_ = false;
  std::atomic<int> connections_ = 0;
  std::list<std::weak_ptr<Pair>> pairs_;  // the loop's
  Loop loop_;
  Tcp::acceptor acceptor_;
};

}  // namespace tutti::testing
