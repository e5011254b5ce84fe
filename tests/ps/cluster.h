// SPDX-License-Identifier: Apache-2.0
// Shards and ranks of one test on loopback: each shard has a loop of its own, as it would as a process, and so has each
// rank.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "common/clock.h"
#include "common/event.h"
#include "common/net/loop.h"
#include "ps/client.h"
#include "ps/server.h"

namespace tutti::ps {

inline Deadline in_seconds(int seconds) {
  return SteadyClock().now() + std::chrono::seconds(seconds);
}

class Cluster {
 public:
  Cluster(int ranks, int shards, int window_chunks = 4) : ranks_(ranks) {
    for (int shard = 0; shard < shards; ++shard) {
      loops_.push_back(std::make_unique<Loop>());
      Server::Options options;
      options.shard = {shard, shards, ranks, 1, window_chunks};
      options.credentials = credentials(Role::kServer, shard);
      auto server = Server::start(*loops_.back(), options, clock_, events_, Logger::none());
      if (!server) raise(server.error());
      servers_.push_back(std::move(*server));
    }
  }

  Credentials credentials(Role role, int rank) const { return {secret_, job_, {role, rank, 1}}; }
  std::vector<Endpoint> endpoints() const {
    std::vector<Endpoint> endpoints;
    for (const auto& server : servers_) endpoints.push_back(server->endpoint());
    return endpoints;
  }
  Client::Options client_options(int rank, std::uint64_t chunk_bytes = 4096) const {
    return {endpoints(), credentials(Role::kWorker, rank), ranks_, chunk_bytes};
  }
  Server& server(int shard) { return *servers_[static_cast<std::size_t>(shard)]; }
  void stop(int shard) { servers_[static_cast<std::size_t>(shard)].reset(); }
  EventBuffer& events() { return events_; }
  const Clock& clock() const { return clock_; }

 private:
  const int ranks_;
  const Secret secret_ = Secret::random();
  const JobId job_{};
  SteadyClock clock_;
  EventBuffer events_{4096};  // of the shards
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Server>> servers_;
};

/// One rank: its loop, its client, its buckets.
class ClusterRank {
 public:
  ClusterRank(Cluster& cluster, int rank, std::uint64_t chunk_bytes = 4096) {
    auto client =
        Client::connect(loop_, cluster.client_options(rank, chunk_bytes), cluster.clock(), events_, in_seconds(20));
    if (!client) raise(client.error());
    client_ = std::move(*client);
  }

  Result<> open(const std::vector<BucketSpec>& buckets, std::uint32_t object = 0) {
    memory.clear();
    for (const BucketSpec& bucket : buckets) memory.emplace_back(bucket.bytes());
    std::vector<std::byte*> places;
    for (auto& bucket : memory) places.push_back(bucket.data());
    return client_->open({object, 0, buckets, places}, in_seconds(20));
  }
  /// Starts every bucket of one exchange.
  Result<> start(std::uint64_t step, std::uint32_t object = 0) {
    for (std::uint32_t bucket = 0; bucket < memory.size(); ++bucket)
      TUTTI_TRY(client_->start(object, {step, 0}, bucket));
    return {};
  }
  Client& client() { return *client_; }
  void disconnect() { client_.reset(); }
  EventBuffer& events() { return events_; }

  std::vector<std::vector<std::byte>> memory;  ///< by bucket

 private:
  Loop loop_;
  EventBuffer events_{4096};
  std::unique_ptr<Client> client_;
};

}  // namespace tutti::ps
