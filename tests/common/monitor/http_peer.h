// SPDX-License-Identifier: Apache-2.0
// A socket that says to an HTTP server what a test wants it to. Reads give up after kHttpPatience.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "common/file.h"

namespace tutti::testing {

inline constexpr std::chrono::seconds kHttpPatience{20};

class HttpPeer {
 public:
  /// `receive_bytes`: how much it takes before it is read; 0: as the system likes.
  explicit HttpPeer(std::uint16_t port, int receive_bytes = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{kHttpPatience.count(), 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (receive_bytes > 0) ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }

  /// Whether all of it was taken.
  bool say(std::string_view text) {
    while (!text.empty()) {
      const auto sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  bool get(const std::string& target, const std::string& more = "") {
    return say("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n");
  }
  /// Up to and with `end`; what came after it is kept. Without it where the other side closed before.
  std::string read_to(const std::string& end) {
    std::size_t at = 0;
    while ((at = kept_.find(end)) == std::string::npos) {
      if (!read_more()) return std::exchange(kept_, "");
    }
    std::string text = kept_.substr(0, at + end.size());
    kept_.erase(0, text.size());
    return text;
  }
  std::string read_bytes(std::size_t size) {
    while (kept_.size() < size && read_more()) {
    }
    std::string text = kept_.substr(0, size);
    kept_.erase(0, text.size());
    return text;
  }
  /// An answer: its head, and a body of as many bytes as that says.
  std::pair<std::string, std::string> answer() {
    std::string head = read_to("\r\n\r\n");
    const std::size_t at = head.find("Content-Length: ");
    const std::size_t size = at == std::string::npos ? 0 : std::stoul(head.substr(at + 16));
    return {std::move(head), read_bytes(size)};
  }
  /// Everything until the other side closes.
  std::string rest() {
    while (read_more()) {
    }
    return std::exchange(kept_, "");
  }
  /// Whether the other side closed; in time, that is.
  bool sees_close() {
    while (read_more()) {
    }
    return is_closed_;
  }
  void close() { socket_ = FileDescriptor(); }

 private:
  bool read_more() {
    char bytes[4096];
    const auto got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
    if (got > 0) kept_.append(bytes, static_cast<std::size_t>(got));
    is_closed_ = got == 0 || (got < 0 && errno == ECONNRESET);
    return got > 0;
  }

  FileDescriptor socket_;
  std::string kept_;
  bool is_closed_ = false;
};

}  // namespace tutti::testing
