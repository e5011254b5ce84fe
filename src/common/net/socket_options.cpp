// SPDX-License-Identifier: Apache-2.0
#include "common/net/socket_options.h"

#include <netinet/tcp.h>

#include <fstream>

namespace tutti {
namespace {

using Socket = boost::asio::ip::tcp::socket;
using ErrorCode = boost::system::error_code;
constexpr int kSocketBufferBytes = 4 << 20;

template <int kOption>
using TcpOption = boost::asio::detail::socket_option::integer<IPPROTO_TCP, kOption>;

int system_limit(const char* name) {
  int bytes = 0;
  std::ifstream(std::string("/proc/sys/net/core/") + name) >> bytes;
  return bytes;
}

// A size that is asked for switches the kernel's own tuning off, and is cut to the system's limit without a word. Where that limit is
// small, the kernel's tuning does better.
bool large_buffers_allowed() {
  static const bool allowed =
      system_limit("wmem_max") >= kSocketBufferBytes && system_limit("rmem_max") >= kSocketBufferBytes;
  return allowed;
}

}  // namespace

void tune(Socket& socket) {
  ErrorCode ignored;
  socket.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
  socket.set_option(boost::asio::socket_base::keep_alive(true), ignored);
  socket.set_option(TcpOption<TCP_KEEPIDLE>(10), ignored);
  socket.set_option(TcpOption<TCP_KEEPINTVL>(5), ignored);
  socket.set_option(TcpOption<TCP_KEEPCNT>(4), ignored);
  if (large_buffers_allowed()) {
    socket.set_option(boost::asio::socket_base::send_buffer_size(kSocketBufferBytes), ignored);
    socket.set_option(boost::asio::socket_base::receive_buffer_size(kSocketBufferBytes), ignored);
  }
}

std::string remote_text(const Socket& socket) {
  ErrorCode error;
  const auto endpoint = socket.remote_endpoint(error);
  return error ? "?" : endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
}

std::string remote_address(const Socket& socket) {
  ErrorCode error;
  const auto endpoint = socket.remote_endpoint(error);
  return error ? "?" : endpoint.address().to_string();
}

std::string local_address(const Socket& socket) {
  ErrorCode error;
  const auto endpoint = socket.local_endpoint(error);
  return error ? "?" : endpoint.address().to_string();
}

}  // namespace tutti
