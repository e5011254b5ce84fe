// SPDX-License-Identifier: Apache-2.0
// What of a client lives on the loop, for one generation of the run: the connections to all shards and the machine of
// each object. It reports to Pending. Where lost processes are replaced, a connection that is lost is made again, and
// what was not answered on it is pushed again: whether the shard itself is lost is the coordinator's to say.
// Thread safety: lives on the loop.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <optional>
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
#include "ps/reach.h"

namespace tutti::ps {

class ClientSession final : public FrameSink, public std::enable_shared_from_this<ClientSession> {
 public:
  /// The key in Pending of connections that are being made, and of objects that are opened again; objects have their
  /// numbers, and each of their buckets a key of its own.
  static constexpr Pending::Key kConnecting = kObjectsMax;
  static constexpr Pending::Key key_of(std::uint32_t object, std::uint32_t bucket) {
    return (Pending::Key{object} + 1) << 32 | bucket;
  }

  /// An object as it was opened, and how far it is.
  struct Object {
    OpenRequest request;
    std::vector<std::byte*> memory;
    std::optional<ChunkJournal> journal;  ///< of the shards that reach its buckets
    ClientStanding standing;
    std::vector<bool> in_place = {};  ///< by shard
    std::uint32_t generation = 0;     ///< that it was last open in
  };

  ClientSession(boost::asio::io_context& context, const Client::Options& options, const std::vector<Endpoint>& shards,
                std::uint32_t generation, Pending& pending, const Clock& clock, EventSink& events);

  void connect(Duration timeout);
  /// Sends the table to every shard, now and when it is reached. REQUIRES: the object of this number was closed;
  /// check() holds for both parts.
  void open(Object object);
  /// Goes on with the objects of the generation before, which were opened again: pushes what they hold.
  Result<> go_on();
  /// What the session of the next generation goes on with. REQUIRES: shut() is ready.
  std::vector<Object> objects() const;
  void start(std::uint32_t object, const Round& round, std::uint32_t bucket, ChunkState holds);
  void end_round(std::uint32_t object);
  /// Whether not_finite() may find anything. Thread safety: any thread.
  bool has_not_finite() const noexcept { return has_not_finite_; }
  /// In the results of the object's last round.
  std::vector<NotFiniteResultElement> not_finite(std::uint32_t object);
  /// Writes down what the object waits for and asks the shard who is missing there.
  void ask(std::uint32_t object);
  /// Once this is ready, the object's bucket memory is not touched any more. Where results are awaited still, every
  /// connection is closed for that.
  std::shared_future<void> close(std::uint32_t object);
  /// Closes every connection; ready when the last has gone.
  std::shared_future<void> shut();

  Result<std::span<std::byte>> payload_place(Connection& from, const FrameHeader& header,
                                             std::span<const std::byte>) override;
  Result<> on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                    std::span<std::byte> payload) override;
  void on_closed(Connection& connection, const Failure& why) override;

 private:
  struct Link {
    Endpoint endpoint;
    std::vector<std::shared_ptr<Connection>> connections;  // null: not connected
    std::size_t reached = 0;                               // so many of them were made once
  };
  struct OpenObject {
    Object object;
    ClientFsm machine;
    bool goes_on = false;  ///< its standing is the machine's; until then it is the object's
  };

  void connect(int shard, std::uint8_t number);
  void on_connected(int shard, std::uint8_t number, Result<std::shared_ptr<Connection>> connected);
  void connect_later(int shard, std::uint8_t number);
  Result<> go_on(std::uint32_t object, OpenObject& opened);
  void send_table(const OpenObject& opened, int shard);
  void push_again(int shard, std::uint8_t number);
  void look_up_results(OpenObject& opened) const;
  Result<> on_opened(int shard, std::uint32_t object, std::span<const std::byte> control);
  Result<> on_result(int shard, const FrameHeader& header, std::span<const std::byte> control);
  Result<> on_answer(int shard, const FrameHeader& header, std::span<const std::byte> control);
  void carry_out(const ClientFsm& machine, const ClientStep& step);
  void send(const ClientPush& push);
  void record(EventKind kind, const FrameHeader& header, std::uint32_t bucket_or_chunk, std::uint64_t bytes);

  OpenObject* find(std::uint32_t object);
  ClientFsm* machine(std::uint32_t object);
  void find_reached(int shard);
  Link& link(int shard) { return links_.at(static_cast<std::size_t>(shard)); }
  int shard_of(const Connection& connection) const;
  std::string name_of_shard(int shard);
  std::string describe_loss(int shard);

  boost::asio::io_context& context_;
  const Credentials credentials_;
  const bool outlives_losses_;
  const Duration timeout_;  // zero: a shard that is silent is waited for
  Duration patience_{};     // of one try to connect
  CopyMeter* const meter_;
  const Clock& clock_;
  EventSink& events_;
  Pending& pending_;
  std::vector<Link> links_;                     // by shard
  std::map<std::uint32_t, OpenObject> opened_;  // by object
  std::atomic<bool> has_not_finite_ = false;
  LiveConnections live_;
  const std::shared_ptr<Reach> reach_;
};

}  // namespace tutti::ps
