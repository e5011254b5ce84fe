// SPDX-License-Identifier: Apache-2.0
// Worlds of client and shard machines without sockets: whatever the order in which frames arrive, on however many
// connections, and whichever shards share which ranks' buckets, the sums are those of the plain loop.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <random>

#include "ps/client_fsm.h"
#include "ps/shard_fsm.h"
#include "tests/ps/reference.h"

namespace tutti::ps {
namespace {

struct Frame {
  FrameHeader header;
  Bytes payload;
};

class World {
 public:
  explicit World(unsigned seed) : random_(seed) {
    ranks_ = pick(1, 4);
    shards_ = pick(1, 3);
    window_ = pick(1, 4);
    table_ = {0, 0, ranks_, shards_, kChunkAlignment * static_cast<std::uint64_t>(pick(1, 5)), {}, pick(1, 3)};
    for (int bucket = pick(1, 4); bucket > 0; --bucket) table_.buckets.push_back(random_bucket());
    for (int shard = 0; shard < shards_; ++shard) {
      servers_.emplace_back(ShardOptions{shard, shards_, ranks_, 1, window_});
    }
    for (int rank = 0; rank < ranks_; ++rank) open(rank);
    to_shard_.resize(wires());
    to_rank_.resize(wires());
  }

  /// One exchange of all buckets, delivered in random order. The ranks' buckets are compared with the reference.
  void exchange(const Round& round) {
    fill();
    const auto expected = expected_buckets();
    next_bucket_.assign(static_cast<std::size_t>(ranks_), 0);
    while (act(round)) {
    }
    for (int rank = 0; rank < ranks_; ++rank) {
      EXPECT_TRUE(client(rank).finished());
      EXPECT_EQ(memory(rank), expected) << "rank " << rank << ", " << describe(round);
    }
  }

 private:
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  std::size_t wires() const { return static_cast<std::size_t>(ranks_ * shards_ * table_.connections); }
  std::size_t wire(int rank, int shard, int connection) const {
    return static_cast<std::size_t>((rank * shards_ + shard) * table_.connections + connection);
  }
  ClientFsm& client(int rank) { return clients_[static_cast<std::size_t>(rank)]; }
  ShardFsm& server(int shard) { return servers_[static_cast<std::size_t>(shard)]; }
  std::vector<Bytes>& memory(int rank) { return memory_[static_cast<std::size_t>(rank)]; }

  BucketSpec random_bucket() {
    const auto reduction = static_cast<Reduction>(pick(0, 2));
    const auto dtype = static_cast<DType>(reduction == Reduction::kAverage ? pick(0, 3) : pick(0, 9));
    return {dtype, reduction, static_cast<std::uint64_t>(pick(0, 400))};
  }

  void open(int rank) {
    std::vector<Bytes> buckets;
    for (const BucketSpec& bucket : table_.buckets) buckets.emplace_back(bucket.bytes());
    memory_.push_back(std::move(buckets));
    std::vector<std::byte*> places;
    for (Bytes& bucket : memory_.back()) places.push_back(bucket.data());
    clients_.emplace_back(table_, places, rank, 1u, ClientWays{.is_shared = true});
    for (int shard = 0; shard < shards_; ++shard) {
      auto opened = server(shard).open(rank, client(rank).header(FrameType::kOpen, 0), table_);
      ASSERT_TRUE(opened) << opened.error().text();
      opened->in_place = pick(0, 1) == 1;
      if (opened->in_place) server(shard).share(rank, 0, {shared(places), {}});
      ASSERT_TRUE(client(rank).opened(shard, *opened));
    }
  }

  static HostBuckets shared(const std::vector<std::byte*>& places) {
    HostBuckets buckets;
    for (std::byte* place : places) buckets.emplace_back(place, [](std::byte*) {});
    return buckets;
  }

  void fill() {
    for (int rank = 0; rank < ranks_; ++rank) {
      for (std::size_t i = 0; i < table_.buckets.size(); ++i) {
        const Bytes values = random_bytes(table_.buckets[i].dtype, table_.buckets[i].elements, random_);
        std::copy(values.begin(), values.end(), memory(rank)[i].begin());
      }
    }
  }

  std::vector<Bytes> expected_buckets() {
    std::vector<Bytes> expected;
    for (std::size_t i = 0; i < table_.buckets.size(); ++i) {
      std::vector<Bytes> contributions;
      for (int rank = 0; rank < ranks_; ++rank) contributions.push_back(memory(rank)[i]);
      expected.push_back(reference_reduce(table_.buckets[i].dtype, table_.buckets[i].reduction, contributions));
    }
    return expected;
  }

  /// Does one of the things that can happen next, by chance: a rank starts a bucket, a frame arrives. False when there
  /// is none.
  bool act(const Round& round) {
    std::vector<std::function<void()>> possible;
    for (int rank = 0; rank < ranks_; ++rank) {
      if (next_bucket_[static_cast<std::size_t>(rank)] < table_.buckets.size()) {
        possible.push_back([this, rank, round] { start(rank, round); });
      }
      for (int way = 0; way < shards_ * table_.connections; ++way) {
        const int shard = way % shards_, connection = way / shards_;
        if (!to_shard_[wire(rank, shard, connection)].empty())
          possible.push_back([this, rank, shard, connection] { deliver_push(rank, shard, connection); });
        if (!to_rank_[wire(rank, shard, connection)].empty())
          possible.push_back([this, rank, shard, connection] { deliver_result(rank, shard, connection); });
      }
    }
    if (possible.empty()) return false;
    possible[static_cast<std::size_t>(pick(0, static_cast<int>(possible.size()) - 1))]();
    return !testing::Test::HasFatalFailure();
  }

  void start(int rank, const Round& round) {
    const auto step = client(rank).start(round, next_bucket_[static_cast<std::size_t>(rank)]++);
    ASSERT_TRUE(step) << step.error().text();
    send(rank, *step);
  }

  void send(int rank, const ClientStep& step) {
    for (const ClientPush& push : step.pushes) {
      to_shard_[wire(rank, push.shard, push.connection)].push_back(
          {push.header, {push.payload.begin(), push.payload.end()}});
    }
  }

  void deliver_push(int rank, int shard, int connection) {
    const Frame frame = take(to_shard_[wire(rank, shard, connection)]);
    const auto place = server(shard).place(rank, frame.header, connection);
    ASSERT_TRUE(place) << place.error().text();
    std::copy(frame.payload.begin(), frame.payload.end(), place->begin());
    const auto step = server(shard).pushed(rank, frame.header, connection);
    ASSERT_TRUE(step) << step.error().text();
    for (const ShardSend& result : step->sends) {
      FrameHeader header = result.header;
      header.payload_bytes = result.bytes;
      to_rank_[wire(result.rank, shard, result.connection)].push_back(
          {header, {result.result.get(), result.result.get() + result.bytes}});
    }
    EXPECT_LE(server(shard).object(0)->memory().in_use(),
              static_cast<std::size_t>(ranks_ * table_.connections * (window_ + 1)));
  }

  void deliver_result(int rank, int shard, int connection) {
    const Frame frame = take(to_rank_[wire(rank, shard, connection)]);
    const auto place = client(rank).place(shard, frame.header);
    ASSERT_TRUE(place) << place.error().text();
    std::copy(frame.payload.begin(), frame.payload.end(), place->begin());
    const auto step = client(rank).result(shard, frame.header);
    ASSERT_TRUE(step) << step.error().text();
    send(rank, *step);
  }

  static Frame take(std::deque<Frame>& frames) {
    Frame first = std::move(frames.front());
    frames.pop_front();
    return first;
  }

  std::mt19937 random_;
  int ranks_ = 0, shards_ = 0, window_ = 0;
  ObjectTable table_;
  std::deque<ShardFsm> servers_;
  std::deque<ClientFsm> clients_;
  std::deque<std::vector<Bytes>> memory_;              // by rank and bucket
  std::vector<std::deque<Frame>> to_shard_, to_rank_;  // by wire: in order on each, in any order between them
  std::vector<std::uint32_t> next_bucket_;             // by rank
};

TEST(World, SumsToTheReferenceInWhateverOrderFramesArrive) {
  for (unsigned seed = 0; seed < 150 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    for (std::uint64_t step = 1; step <= 3; ++step) {
      world.exchange({step, 0});
      world.exchange({step, 1});
    }
  }
}

}  // namespace
}  // namespace tutti::ps
