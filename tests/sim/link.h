// SPDX-License-Identifier: Apache-2.0
// A connection that proves the job's secret and then carries frames, as common/net/connection.h does over a socket: the
// same handshake machines, the same headers and checksums, and payloads that are received into the place where they
// belong, piece by piece.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/net/frame.h"
#include "common/net/handshake_fsm.h"
#include "common/result.h"
#include "tests/sim/network.h"

namespace tutti::sim {

class Link;

class LinkSink {
 public:
  virtual ~LinkSink() = default;
  /// Both sides have proved the secret.
  virtual void on_open(Link& link) = 0;
  /// As many bytes as the header says, or why not.
  virtual Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header,
                                                     std::span<const std::byte> control) = 0;
  virtual Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) = 0;
  /// The link is dead; not called after close().
  virtual void on_closed(Link& link, const Failure& why) = 0;
};

class Link final : public Network::Receiver, public std::enable_shared_from_this<Link> {
 public:
  /// `self` is what the process says it is. Gives up after `timeout`. `sink` outlives the link.
  static std::shared_ptr<Link> connect(Process& owner, Port to, const PeerIdentity& self, Duration timeout,
                                       LinkSink& sink);
  static std::shared_ptr<Link> accept(Process& owner, Network::End end, LinkSink& sink);

  void send(FrameHeader header, const std::string& control, std::span<const std::byte> payload = {});
  void close();
  /// The network breaks it: both sides are told.
  void cut();
  bool is_open() const noexcept { return state_ == State::kHeader || state_ == State::kRest; }
  /// A payload is being received into its place.
  bool is_receiving() const noexcept { return !place_.empty(); }
  /// Who the other side proved to be. REQUIRES: accepted, and open.
  const PeerIdentity& peer() const { return server_->peer(); }

  void on_connected(Network::End end) override;
  void on_bytes(std::span<const std::byte> bytes) override;
  void on_cut(const Failure& why) override;

 private:
  enum class State { kConnecting, kHandshake, kHeader, kRest, kClosed };

  Link(Process& owner, LinkSink& sink) : owner_(owner), sink_(sink) {}
  void give_up_after(Duration timeout);
  void carry_out(const HandshakeAction& action);
  void write(std::vector<std::byte> bytes);
  void on_part();
  void on_control();
  void deliver();
  void await(std::size_t bytes);
  void fail_with(const Failure& why);

  Process& owner_;
  LinkSink& sink_;
  State state_ = State::kConnecting;
  Network::End end_;
  std::optional<ClientHandshakeFsm> client_;
  std::optional<ServerHandshakeFsm> server_;

  // What is being received.
  std::vector<std::byte> part_;
  std::size_t needed_ = 0;
  FrameHeader header_;
  std::vector<std::byte> control_;
  std::span<std::byte> place_;
  std::size_t placed_ = 0;
};

}  // namespace tutti::sim
