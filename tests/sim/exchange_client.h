// SPDX-License-Identifier: Apache-2.0
// A rank's connections to all shards and its client machine, for one generation: what ps/client_session.cpp does, and
// more: where a connection ends while the generation goes on, the rank opens its connections to that shard again and
// sends again what was not answered. The shard's machine promises to recognise what it has already, and to answer from
// what it keeps.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "ps/client_fsm.h"
#include "tests/sim/link.h"
#include "tests/sim/model.h"

namespace tutti::sim {

class ExchangeClient final : public LinkSink {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    /// Asks where the shard listens now.
    virtual void locate(int shard, std::function<void(Port)> found) = 0;
    virtual void on_exchange_open() = 0;
    virtual void on_exchange_finished() = 0;
    virtual void on_exchange_failed(const Failure& why) = 0;
  };

  /// `buckets` holds the gradients, then the results; it outlives this.
  ExchangeClient(Process& process, Owner& owner, std::uint32_t generation, Buckets& buckets);
  void connect();
  /// All buckets of the round follow each other by themselves. REQUIRES: the exchange is open, the last round finished.
  void start(const ps::Round& round);

  void on_open(Link& link) override;
  Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header) override;
  Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) override;
  void on_closed(Link& link, const Failure& why) override;

 private:
  struct ToShard {
    std::vector<std::shared_ptr<Link>> lanes;
    bool is_open = false;                                     // it has answered to the table on these connections
    std::optional<std::uint64_t> cut_after = {};              // so many more pushes: then the connections break
    std::map<std::uint32_t, ps::ClientPush> unanswered = {};  // by chunk
  };

  void connect(int shard);
  void connect(int shard, Port port, int connection);
  void try_again(int shard);
  void send_table(int shard);
  Result<> on_opened(int shard, std::span<const std::byte> control);
  void start_bucket(const ps::Round& round, std::uint32_t bucket);
  void send(const ps::ClientPush& push);
  void carry_out(const ps::ClientStep& step);
  void draw_repeats();
  int shard_of(const Link& link) const;
  ToShard& to(int shard) { return shards_.at(static_cast<std::size_t>(shard)); }
  void later(Duration delay, std::function<void()> f);

  Process& process_;
  Owner& owner_;
  const std::uint32_t generation_;
  const ps::ObjectTable table_;
  ps::ClientFsm machine_;
  std::vector<ToShard> shards_;
  std::vector<Port> ports_;  // by shard: where its connections are being made to
  bool was_open_ = false;
  std::uint32_t started_ = 0;  // buckets of the round
  const std::shared_ptr<bool> lives_ = std::make_shared<bool>(true);
};

}  // namespace tutti::sim
