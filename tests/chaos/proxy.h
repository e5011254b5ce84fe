// SPDX-License-Identifier: Apache-2.0
// A proxy between the processes of a run under test. They come to it because redirect/redirect.cpp is preloaded into
// them; nothing of tutti knows of it. What it does with the bytes a script decides, message by message: pass them on,
// hold them back, delay them, flip a bit, cut the connection.
// Thread safety: made and destroyed on the test's thread; the script is called on the proxy's own, one call at a time.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/config.h"
#include "common/net/loop.h"
#include "tests/chaos/redirect/redirect.h"
#include "tests/chaos/stream_watch.h"

namespace tutti::testing {

/// What becomes of a piece.
struct Decision {
  static constexpr std::size_t kAll = ~std::size_t{0};
  std::size_t pass = kAll;  ///< so many of its bytes go on
  /// What becomes of the others: the same question again in a moment; the connection ends here, in good order, as a
  /// dead process' does; or by a reset, which takes what the other side has not read yet with it.
  enum class Rest { kAskAgain, kCut, kReset } rest = Rest::kAskAgain;
  std::chrono::milliseconds delay{0};    ///< first
  std::optional<std::size_t> flip = {};  ///< the lowest bit of this byte of the piece
};
inline constexpr Decision kHold{.pass = 0};
inline constexpr Decision kReset{.pass = 0, .rest = Decision::Rest::kReset};

class Proxy {
 public:
  using Script = std::function<Decision(const Piece&)>;
  /// `folder`: for the socket at which processes ask.
  explicit Proxy(const std::string& folder, Script script = nullptr);
  ~Proxy();

  /// What the processes of the run need in their environment.
  Environment environment() const;
  /// From now on; nothing: everything passes.
  void play(Script script);
  /// So far.
  std::uint64_t bytes() const noexcept { return bytes_; }
  int connections() const noexcept { return connections_; }

 private:
  using Tcp = boost::asio::ip::tcp;
  using Local = boost::asio::local::stream_protocol;
  struct Pair;
  boost::asio::awaitable<void> answer_all();
  boost::asio::awaitable<void> answer(Local::socket asker);
  boost::asio::awaitable<void> join(Tcp::acceptor acceptor, ProxyQuestion question);
  boost::asio::awaitable<void> pump(std::shared_ptr<Pair> pair, bool to_server);
  boost::asio::awaitable<bool> deal_with(Pair& pair, Piece piece, std::byte* bytes, StreamWatch& watch);
  Decision decide(const Piece& piece);

  const std::string path_;
  Script script_;  // the loop's
  std::atomic<std::uint64_t> bytes_ = 0;
  std::atomic<int> connections_ = 0;
  Loop loop_;
  Local::acceptor questions_;
};

}  // namespace tutti::testing
