// SPDX-License-Identifier: Apache-2.0
// What of a client lives on the loop: the connections to all shards and the machine of each object. It reports to
// Pending.
// Thread safety: lives on the loop, but for pending().
#pragma once

#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/event.h"
#include "common/net/connection.h"
#include "common/result.h"
#include "ps/client.h"
#include "ps/client_fsm.h"
#include "ps/live_connections.h"
#include "ps/pending.h"

namespace tutti::ps {

class ClientSession final : public FrameSink, public std::enable_shared_from_this<ClientSession> {
 public:
  /// The key in Pending of connections that are being made; objects have their numbers, and each of their buckets a
  /// key of its own.
  static constexpr Pending::Key kConnecting = kObjectsMax;
  static constexpr Pending::Key key_of(std::uint32_t object, std::uint32_t bucket) {
    return (Pending::Key{object} + 1) << 32 | bucket;
  }

  ClientSession(const Client::Options& options, const Clock& clock, EventSink& events);

  void connect(boost::asio::io_context& context, Duration timeout);
  /// Sends the table to every shard. REQUIRES: the object of this number was closed; check() holds for both parts.
  void open(OpenRequest request, std::vector<std::byte*> memory);
  void start(std::uint32_t object, const Round& round, std::uint32_t bucket);
  /// Writes down what the object waits for and asks the shard who is missing there.
  void ask(std::uint32_t object);
  /// Once this is ready, the object's bucket memory is not touched any more. Where results are awaited still, every
  /// connection is closed for that.
  std::shared_future<void> close(std::uint32_t object);
  /// Closes every connection; ready when the last has gone.
  std::shared_future<void> shut();

  Pending& pending() noexcept { return pending_; }

  Result<std::span<std::byte>> payload_place(Connection& from, const FrameHeader& header,
                                             std::span<const std::byte>) override;
  Result<> on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                    std::span<std::byte> payload) override;
  void on_closed(Connection& connection, const Failure& why) override;

 private:
  struct Link {
    Endpoint endpoint;
    std::vector<std::shared_ptr<Connection>> connections;  // null: not connected
  };

  void connect(boost::asio::io_context& context, int shard, std::uint8_t number, Deadline deadline);
  bool attach(int shard, std::uint8_t number, Result<std::shared_ptr<Connection>> connected);
  Result<> on_opened(int shard, std::uint32_t object, std::span<const std::byte> control);
  Result<> on_result(int shard, const FrameHeader& header);
  Result<> on_answer(int shard, const FrameHeader& header, std::span<const std::byte> control);
  void carry_out(const ClientFsm& machine, const ClientStep& step);
  void send(const ClientPush& push);
  void record(EventKind kind, const FrameHeader& header, std::uint32_t bucket_or_chunk, std::uint64_t bytes);

  ClientFsm* machine(std::uint32_t object);
  Link& link(int shard) { return links_.at(static_cast<std::size_t>(shard)); }
  int shard_of(const Connection& connection) const;
  std::string name_of_shard(int shard);
  std::string describe_loss(int shard);

  const Credentials credentials_;
  CopyMeter* const meter_;
  const Clock& clock_;
  EventSink& events_;
  Pending pending_;
  std::vector<Link> links_;                      // by shard
  std::map<std::uint32_t, ClientFsm> machines_;  // by object
  LiveConnections live_;
};

}  // namespace tutti::ps
