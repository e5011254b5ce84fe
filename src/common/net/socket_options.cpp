// SPDX-License-Identifier: Apache-2.0
#include "common/net/socket_options.h"

#include <netinet/tcp.h>

namespace tutti {
namespace {

using Socket = boost::asio::ip::tcp::socket;
using ErrorCode = boost::system::error_code;
template <int kOption>
using TcpOption = boost::asio::detail::socket_option::integer<IPPROTO_TCP, kOption>;

}  // namespace

// Buffer sizes are left to the kernel, which grows them with the connection's need: a fixed size switches that off, and
// was never faster when it was measured.
void tune(Socket& socket) {
  ErrorCode ignored;
  socket.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
  socket.set_option(boost::asio::socket_base::keep_alive(true), ignored);
  socket.set_option(TcpOption<TCP_KEEPIDLE>(10), ignored);
  socket.set_option(TcpOption<TCP_KEEPINTVL>(5), ignored);
  socket.set_option(TcpOption<TCP_KEEPCNT>(4), ignored);
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
