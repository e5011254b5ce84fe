// SPDX-License-Identifier: Apache-2.0
// What the tests of connections share: a listening side on loopback, a sink that keeps what it is told, and a raw
// socket that can say anything.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/net/connection.h"
#include "common/net/loop.h"

namespace tutti::testing {

inline constexpr auto kPatience = std::chrono::seconds(20);

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

inline Credentials credentials(PeerIdentity self = {}, std::byte secret = std::byte{7}, std::byte job = std::byte{1}) {
  Digest digest{};
  digest.fill(secret);
  JobId id{};
  id.fill(job);
  return {Secret(digest), id, self};
}

/// Values that one thread gives and another waits for.
template <class T>
class Mailbox {
 public:
  void put(T value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  /// Nothing when none came in time.
  std::optional<T> take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return !values_.empty(); })) return std::nullopt;
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return values_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> values_;
};

struct ReceivedFrame {
  FrameHeader header;
  std::vector<std::byte> control;
  std::vector<std::byte> payload;
  const std::byte* place = nullptr;
};

/// Gives a payload the place that was set for its chunk, and refuses others.
class RecordingSink : public FrameSink {
 public:
  Result<std::span<std::byte>> payload_place(Connection&, const FrameHeader& header,
                                             std::span<const std::byte>) override {
    const auto place = places.find(header.chunk);
    if (place == places.end()) return fail(Errc::kProtocol, "no place for this payload");
    return std::span<std::byte>(place->second);
  }
  Result<> on_frame(Connection&, const FrameHeader& header, std::span<const std::byte> control,
                    std::span<std::byte> payload) override {
    if (refusal) return *refusal;
    frames.put({header, {control.begin(), control.end()}, {payload.begin(), payload.end()}, payload.data()});
    return {};
  }
  void on_closed(Connection&, const Failure& why) override {
    closed.put(why);
    done.put(true);
  }
  /// Ends `connection`, and waits until it calls nothing here any more.
  void end(Loop& loop, Connection& connection) {
    loop.run([&] { connection.close(true); });
    done.take();
  }

  std::map<std::uint32_t, std::vector<std::byte>> places;  // set before the connection starts
  std::optional<Failure> refusal;                          // of every frame
  Mailbox<ReceivedFrame> frames;
  Mailbox<Failure> closed;

 private:
  Mailbox<bool> done;
};

/// A loop with an acceptor on it.
class Listening {
 public:
  explicit Listening(Acceptor::Options options = {}) {
    acceptor = loop.run([&] {
                     return Acceptor::listen(
                         loop.context(), options, credentials(), clock, Logger::none(),
                         [this](std::shared_ptr<Connection> connection) { accepted.put(std::move(connection)); });
                   })
                   .value();
    endpoint = acceptor->endpoint();
  }
  ~Listening() {
    loop.run([this] {
      acceptor.reset();
      while (accepted.size() > 0) accepted.take();
    });
  }

  Result<std::shared_ptr<Connection>> connect_with(Credentials with, Duration timeout = std::chrono::seconds(10)) {
    std::promise<Result<std::shared_ptr<Connection>>> promise;
    auto outcome = promise.get_future();
    loop.post([&, with] {
      connect(loop.context(), endpoint, with, timeout, [&](auto result) { promise.set_value(std::move(result)); });
    });
    return outcome.get();
  }
  std::uint64_t refused() {
    return loop.run([this] { return acceptor->refused(); });
  }

  SteadyClock clock;
  Mailbox<std::shared_ptr<Connection>> accepted;
  Loop loop;
  std::unique_ptr<Acceptor> acceptor;
  Endpoint endpoint;
};

/// A blocking socket without manners. Reads give up after kPatience.
class RawClient {
 public:
  explicit RawClient(const Endpoint& to) : socket_(context_) {
    socket_.connect({boost::asio::ip::make_address(to.host), to.port});
    const timeval limit{std::chrono::seconds(kPatience).count(), 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  /// Whether everything was taken.
  bool write(std::span<const std::byte> bytes) {
    boost::system::error_code error;
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), error);
    return !error;
  }
  std::vector<std::byte> read(std::size_t size) {
    std::vector<std::byte> bytes(size);
    std::size_t done = 0;
    while (done < size) {
      const auto got = ::recv(socket_.native_handle(), bytes.data() + done, size - done, 0);
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
    }
    bytes.resize(done);
    return bytes;
  }
  /// Whether the other side closes; what it says before is dropped.
  bool sees_close() {
    std::byte byte{};
    for (;;) {
      const auto got = ::recv(socket_.native_handle(), &byte, 1, 0);
      if (got == 0) return true;
      if (got < 0) return errno == ECONNRESET;
    }
  }
  /// Goes through the handshake as a client.
  bool shake_hands(const Credentials& with) {
    ClientHandshakeFsm machine(with.secret, with.job, with.self, random_nonce());
    HandshakeAction action = machine.start();
    while (action.kind == HandshakeAction::Kind::kSend) {
      write(action.send);
      action = machine.feed(read(action.need_bytes));
    }
    return action.kind == HandshakeAction::Kind::kDone;
  }
  void close() { socket_.close(); }

 private:
  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_;
};

}  // namespace tutti::testing
