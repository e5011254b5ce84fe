// SPDX-License-Identifier: Apache-2.0
// Shards and ranks of one test on loopback: each shard has a loop of its own, as it would as a process, and so has each
// rank. Where they share memory, its keeper is there, too.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/event.h"
#include "common/host_memory.h"
#include "common/net/loop.h"
#include "ps/client.h"
#include "ps/server.h"

namespace tutti::ps {

inline Deadline in_seconds(int seconds) {
  return SteadyClock().now() + std::chrono::seconds(seconds);
}

struct ClusterWays {
  int connections = 1;         ///< between each rank and each shard
  bool shares_memory = false;  ///< of all ranks with all shards
  int sum_helpers = 0;         ///< of each shard
  CopyMeter* meter = nullptr;  ///< of the shards
  bool outlives_losses = false;
  Duration timeout{};                          ///< of silence, at both ends
  TellUnreachable tell_unreachable = nullptr;  ///< the shards'
};

class Cluster {
 public:
  Cluster(int ranks, int shards, int window_chunks = 4, ClusterWays ways = {})
      : ranks_(ranks), shards_(shards), window_chunks_(window_chunks), ways_(ways) {
    if (ways.shares_memory) start_keeper();
    servers_.resize(static_cast<std::size_t>(shards));
    for (int shard = 0; shard < shards; ++shard) {
      loops_.push_back(std::make_unique<Loop>());
      start(shard, 1);
    }
  }

  /// In place of one that was there.
  void start(int shard, std::uint32_t generation) {
    Server::Options options;
    options.shard = {shard, shards_, ranks_, generation, window_chunks_};
    options.credentials = credentials(Role::kServer, shard);
    options.keeper = keeper_name_;
    options.sum_helpers = ways_.sum_helpers;
    options.meter = ways_.meter;
    options.timeout = ways_.timeout;
    options.tell_unreachable = ways_.tell_unreachable;
    const auto index = static_cast<std::size_t>(shard);
    servers_[index].reset();
    auto server = Server::start(*loops_[index], options, clock_, events_, Logger::none());
    if (!server) raise(server.error());
    servers_[index] = std::move(*server);
  }

  Credentials credentials(Role role, int rank) const { return {secret_, job_, {role, rank, 1}}; }
  std::vector<Endpoint> endpoints() const {
    std::vector<Endpoint> endpoints;
    for (const auto& server : servers_) endpoints.push_back(server->endpoint());
    return endpoints;
  }
  Client::Options client_options(int rank, std::uint64_t chunk_bytes = 4096) const {
    Client::Options options{endpoints(),    credentials(Role::kWorker, rank), ranks_, chunk_bytes, ways_.connections,
                            placement(rank)};
    options.outlives_losses = ways_.outlives_losses;
    options.timeout = ways_.timeout;
    return options;
  }
  /// Of a rank that shares its memory, if the cluster does.
  Placement placement(int rank) const {
    return keeper_name_.empty() ? Placement{} : Placement{keeper_name_, rank, ranks_, ways_.outlives_losses};
  }
  Server& server(int shard) { return *servers_[static_cast<std::size_t>(shard)]; }
  void stop(int shard) { servers_[static_cast<std::size_t>(shard)].reset(); }
  EventBuffer& events() { return events_; }
  const Clock& clock() const { return clock_; }

 private:
  void start_keeper() {
    static std::atomic<int> number = 0;
    keeper_name_ = "tutti-ps-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
    auto keeper = SegmentKeeper::start(keeper_loop_, keeper_name_, Logger::none());
    if (!keeper) raise(keeper.error());
    keeper_ = std::move(*keeper);
  }

  const int ranks_, shards_, window_chunks_;
  const ClusterWays ways_;
  const Secret secret_ = Secret::random();
  const JobId job_{};
  SteadyClock clock_;
  EventBuffer events_{4096};  // of the shards
  Loop keeper_loop_;
  std::string keeper_name_;  // empty: no memory is shared
  std::unique_ptr<SegmentKeeper> keeper_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Server>> servers_;
};

/// One rank: its loop, its client, its buckets.
class ClusterRank {
 public:
  ClusterRank(Cluster& cluster, int rank, std::uint64_t chunk_bytes = 4096)
      : ClusterRank(cluster, cluster.client_options(rank, chunk_bytes)) {}
  ClusterRank(Cluster& cluster, Client::Options options) {
    auto client = Client::connect(loop_, std::move(options), cluster.clock(), events_, in_seconds(20));
    if (!client) raise(client.error());
    client_ = std::move(*client);
  }

  Result<> open(const std::vector<BucketSpec>& buckets, std::uint32_t object = 0) {
    TUTTI_TRY(place(buckets, object));
    std::vector<std::byte*> places;
    for (const auto& bucket : memory) places.push_back(bucket.data());
    return client_->open({object, 0, buckets, places}, in_seconds(20));
  }
  /// Gives every bucket its memory: shared, where the rank shares any.
  Result<> place(const std::vector<BucketSpec>& buckets, std::uint32_t object = 0) {
    auto shared = client_->place(object, 0, buckets, in_seconds(20));
    TUTTI_TRY(shared);
    shared_ = std::move(*shared);
    memory.clear();
    own_.clear();
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      if (shared_.empty()) own_.emplace_back(buckets[i].bytes());
      memory.emplace_back(shared_.empty() ? own_.back().data() : shared_[i].get(), buckets[i].bytes());
    }
    return {};
  }
  /// Starts every bucket of one exchange.
  Result<> start(std::uint64_t step, std::uint32_t object = 0) {
    for (std::uint32_t bucket = 0; bucket < memory.size(); ++bucket)
      TUTTI_TRY(client_->start(object, {step, 0}, bucket));
    return {};
  }
  Client& client() { return *client_; }
  void disconnect() { client_.reset(); }
  void forget_memory() {
    memory.clear();
    own_.clear();
    shared_.clear();
  }
  EventBuffer& events() { return events_; }

  std::vector<std::span<std::byte>> memory;  ///< by bucket

 private:
  std::vector<std::vector<std::byte>> own_;
  HostBuckets shared_;
  Loop loop_;
  EventBuffer events_{4096};
  std::unique_ptr<Client> client_;
};

/// Every element of the first bucket, which is of float32.
inline void fill(ClusterRank& rank, float value) {
  for (std::size_t i = 0; i < rank.memory[0].size(); i += sizeof value)
    std::memcpy(rank.memory[0].data() + i, &value, sizeof value);
}

}  // namespace tutti::ps
