// SPDX-License-Identifier: Apache-2.0
// A rank's connections to all shards and its client machine, for one generation: what ps/client_session.cpp does. A
// connection that ends is made again, and what was not answered on it is pushed again. In the next generation another
// one goes on from the machine's standing.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ps/chunk_journal.h"
#include "ps/client_fsm.h"
#include "tests/sim/link.h"
#include "tests/sim/model.h"

namespace tutti::sim {

/// Where a rank's buckets lie.
struct ExchangeMemory {
  std::vector<std::byte*> buckets;               ///< hold the gradients, then the results; they outlive the client
  ps::Placement placement = {};                  ///< in memory that the host's processes share; no keeper: they do not
  std::optional<ps::ChunkJournal> journal = {};  ///< of the shards there
};

/// What the client of the next generation goes on from.
struct ExchangeStanding {
  ps::ClientStanding machine;
  std::vector<bool> in_place;    ///< by shard
  std::uint32_t generation = 0;  ///< of the client that was there
};

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

  /// With `standing` the round that it tells of goes on, else rounds are started.
  ExchangeClient(Process& process, Owner& owner, std::uint32_t generation, ExchangeMemory memory,
                 std::optional<ExchangeStanding> standing);
  void connect();
  /// All buckets of the round follow each other by themselves. REQUIRES: the exchange is open, the last round finished.
  void start(const ps::Round& round);
  /// REQUIRES: the exchange is open, and was given a standing.
  void go_on();
  /// It was open: its machine's standing is the rank's, which until then is what it was given.
  bool is_under_way() const noexcept { return was_open_; }
  ExchangeStanding standing() const;
  /// All results of the round are there.
  bool has_all_of(const ps::Round& round) const;

  void on_open(Link& link) override;
  Result<std::span<std::byte>> payload_place(Link& link, const FrameHeader& header,
                                             std::span<const std::byte> control) override;
  Result<> on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) override;
  void on_closed(Link& link, const Failure& why) override;

 private:
  struct ToShard {
    Port port = 0;
    std::vector<std::shared_ptr<Link>> lanes;
    int reached = 0;                              // so many of them were made once
    std::optional<std::uint64_t> cut_after = {};  // so many more pushes: then a connection breaks
  };
  struct Place {
    int shard;
    int connection;
  };

  void connect(int shard, int connection);
  void push_again(Place place);
  void send_table(int shard);
  Result<> on_opened(int shard, std::span<const std::byte> control);
  void start_bucket(const ps::Round& round, std::uint32_t bucket);
  void start_next(const ps::Round& round);
  void send(const ps::ClientPush& push);
  void carry_out(const ps::ClientStep& step);
  void finish_round();
  void look_up_results();
  void draw_cuts();
  std::optional<Place> place_of(const Link& link) const;
  ToShard& to(int shard) { return shards_.at(static_cast<std::size_t>(shard)); }
  void later(Duration delay, std::function<void()> f);

  Process& process_;
  Owner& owner_;
  const std::uint32_t generation_;
  const ps::ObjectTable table_;
  const ExchangeMemory memory_;
  const std::optional<ExchangeStanding> before_;
  ps::ClientFsm machine_;
  std::vector<ToShard> shards_;
  bool was_open_ = false;
  bool is_in_round_ = false;
  const std::shared_ptr<bool> lives_ = std::make_shared<bool>(true);
};

}  // namespace tutti::sim
