// SPDX-License-Identifier: Apache-2.0
// A framed TCP connection over Boost.Asio. Bytes of a payload go straight to the place that the sink names, and are
// shown to it only after the checksum, which covers them, was verified. Writes are vectored from the caller's memory.
// Thread safety: lives on the loop.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/copy_meter.h"
#include "common/log.h"
#include "common/net/frame.h"
#include "common/net/handshake_fsm.h"
#include "common/net/keep_alive.h"
#include "common/result.h"

namespace tutti {

struct Endpoint {
  std::string host;  ///< address in numbers: "127.0.0.1"
  std::uint16_t port = 0;
  std::string text() const { return host + ":" + std::to_string(port); }
};
/// "host:port"
Result<Endpoint> parse_endpoint(std::string_view text);

/// Who proves what to whom when a connection opens.
struct Credentials {
  Secret secret;
  JobId job{};
  PeerIdentity self;
};

class Connection;

/// What a connection tells its owner. Called on the loop.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  /// Where the payload of a frame goes: a span of exactly header.payload_bytes, which stays until on_frame or
  /// on_closed. Called before any payload byte is read, only when there are some, and before the checksum is known to
  /// hold: the length is to be checked against what the agreed tables allow, and nothing else is to be concluded from
  /// the header. A failure closes the connection.
  virtual Result<std::span<std::byte>> payload_place(Connection& from, const FrameHeader& header,
                                                     std::span<const std::byte> control) = 0;
  /// A whole frame whose checksum holds. A failure closes the connection.
  virtual Result<> on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                            std::span<std::byte> payload) = 0;
  /// The last call: the peer closed (kPeerLost), was not heard of any more (kTimeout), a frame was refused (kProtocol),
  /// or close() was called (kCancelled).
  virtual void on_closed(Connection& connection, const Failure& why) = 0;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  /// REQUIRES: the handshake on `socket` is done.
  Connection(Socket socket, PeerIdentity peer);
  ~Connection();

  /// Tells `meter`, which outlives the connection, of every pass over payloads. REQUIRES: before start.
  void measure(CopyMeter* meter) noexcept;
  /// Gives the peer up when it shows no sign of life for half of `timeout`; the peer does the same. Zero: never.
  /// REQUIRES: before start.
  void keep_alive(Duration timeout, KeepAlive::Sign sign);
  /// Begins to read. `sink` must outlive the connection or on_closed, whichever comes first.
  void start(FrameSink& sink);
  /// Queues a frame. Lengths and checksum of `header` are filled in here. `payload` must stay unchanged until `sent`
  /// was called; `sent` is called once, when the last byte was given to the socket, or the connection closed. Who has
  /// the payload's crc32c already, says it: then the payload is not read for it.
  void send(FrameHeader header, std::string control, std::span<const std::byte> payload = {},
            std::function<void(bool ok)> sent = nullptr, std::optional<std::uint32_t> payload_crc = std::nullopt);
  /// Closes after what is queued was written and the peer closed, too (2 s at most), or at once with `now`; frames that
  /// still come are dropped. on_closed follows, posted.
  void close(bool now = false);

  const PeerIdentity& peer() const noexcept;
  /// Numbers, for the log: "10.0.0.7:41234".
  const std::string& peer_address() const noexcept;
  /// The address on this side, in numbers and without the port.
  const std::string& local_address() const noexcept;
  std::uint64_t bytes_sent() const noexcept;
  std::uint64_t bytes_received() const noexcept;
  /// Where it is kept alive: how long there was no sign of life, and how many frames of this side the peer's sink has
  /// taken, as far as it has told.
  Duration silent() const noexcept;
  std::uint64_t acknowledged() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Connects and proves, within `timeout`. Calls `done` once on the loop. Errors: kUnavailable, kTimeout, kPeerLost, and
/// those of the handshake.
void connect(boost::asio::io_context& context, Endpoint to, Credentials credentials, Duration timeout,
             std::function<void(Result<std::shared_ptr<Connection>>)> done);

/// Accepts connections on one address and port, at most 64 at a time in their handshake, each for at most 5 s. What
/// fails is closed and logged, one line per source address per 10 s. One more than 64 costs the oldest its place, so
/// that idle strangers keep nobody out. Lives on the loop.
class Acceptor {
 public:
  struct Options {
    std::string address = "127.0.0.1";  ///< in numbers; never more than what it was told
    std::uint16_t port = 0;             ///< 0: any free one
    std::uint16_t last_port = 0;        ///< of a range that begins at `port`: the first free one; 0: `port` only
    Duration handshake_timeout = std::chrono::seconds(5);
    int unauthenticated_max = 64;
  };
  using OnConnection = std::function<void(std::shared_ptr<Connection>)>;
  /// A port that is taken: kUnavailable, naming the port and, where it can be found, its holder.
  static Result<std::unique_ptr<Acceptor>> listen(boost::asio::io_context& context, Options options,
                                                  Credentials credentials, const Clock& clock, Logger log,
                                                  OnConnection on_connection);
  ~Acceptor();
  Endpoint endpoint() const;
  /// Refused so far, for the metric.
  std::uint64_t refused() const noexcept;
  void close();

 private:
  Acceptor();
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti
