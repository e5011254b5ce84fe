// SPDX-License-Identifier: Apache-2.0
// How every socket that carries frames is set up.
// Thread safety: functions without state.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <string>

namespace tutti {

/// No delay for small frames, and keepalive: a host that vanished without a word is noticed within half a minute.
/// What the system refuses is left as it was.
void tune(boost::asio::ip::tcp::socket& socket);

/// "10.0.0.7:41234"; "?" for a socket that is not connected any more.
std::string remote_text(const boost::asio::ip::tcp::socket& socket);
/// "10.0.0.7"
std::string remote_address(const boost::asio::ip::tcp::socket& socket);
std::string local_address(const boost::asio::ip::tcp::socket& socket);

}  // namespace tutti
