// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/limits.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstring>
#include <exception>
#include <thread>
#include <vector>

#include "launch/bench/rounds.h"
#include "tutti/error.h"

namespace tutti::bench {
namespace {

using boost::asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr int kLimitWarmUps = 3;
constexpr int kSamples = 20;

double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

Measurement limit(const char* name, int ranks, std::uint64_t bytes, const std::vector<double>& us) {
  Measurement result;
  result.bench = name;
  result.exchange = "none";
  result.transport = name;
  result.ranks = ranks;
  result.bytes = bytes;
  result.us = summarize(us);
  return result;
}

/// Reads `count` times `bytes`, and answers each with one byte: the sender's time ends when all has arrived.
void receive(tcp::socket socket, std::uint64_t bytes, int count) {
  std::vector<std::byte> place(bytes);
  const char answer = 1;
  for (int i = 0; i < count; ++i) {
    boost::asio::read(socket, boost::asio::buffer(place));
    boost::asio::write(socket, boost::asio::buffer(&answer, 1));
  }
}

std::vector<double> send_to_self(std::uint64_t bytes) {
  boost::asio::io_context context;
  tcp::acceptor acceptor(context, {boost::asio::ip::address_v4::loopback(), 0});
  tcp::socket out(context);
  out.connect(acceptor.local_endpoint());
  out.set_option(tcp::no_delay(true));
  tcp::socket in = acceptor.accept();

  std::exception_ptr failure;
  std::jthread receiver([&failure, bytes, in = std::move(in)]() mutable {
    try {
      receive(std::move(in), bytes, kLimitWarmUps + kSamples);
    } catch (...) {
      failure = std::current_exception();  // the sender sees the connection's end
    }
  });
  const std::vector<std::byte> message(bytes, std::byte{1});
  std::vector<double> us;
  for (int i = 0; i < kLimitWarmUps + kSamples; ++i) {
    const auto begin = Clock::now();
    char answer = 0;
    boost::asio::write(out, boost::asio::buffer(message));
    boost::asio::read(out, boost::asio::buffer(&answer, 1));
    us.push_back(us_since(begin));
  }
  receiver.join();
  if (failure) std::rethrow_exception(failure);
  us.erase(us.begin(), us.begin() + kLimitWarmUps);
  return us;
}

}  // namespace

Measurement measure_memcpy(Session& session, std::uint64_t bytes) {
  const std::size_t batch = batch_size(bytes);
  std::vector<std::byte> from(bytes, std::byte{1}), to(bytes);
  std::vector<double> us;
  for (int i = 0; i < kLimitWarmUps + kSamples; ++i) {
    session.barrier();
    const auto begin = Clock::now();
    for (std::size_t b = 0; b < batch; ++b) {
      from[0] = static_cast<std::byte>(b);  // so that no copy can be left out
      std::memcpy(to.data(), from.data(), bytes);
      if (to[0] != from[0]) throw Error(Errc::kInternal, "memcpy did not copy");
    }
    us.push_back(us_since(begin) / static_cast<double>(batch));
  }
  us.erase(us.begin(), us.begin() + kLimitWarmUps);
  session.all_reduce(us, Combine::kMax);
  return limit("memcpy", session.world_size(), bytes, us);
}

Measurement measure_tcp(Session& session, std::uint64_t bytes) {
  std::vector<double> us{0};
  if (session.rank() == 0) us = send_to_self(bytes);
  session.barrier();
  return limit("tcp", 1, bytes, us);
}

}  // namespace tutti::bench
