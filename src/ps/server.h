// SPDX-License-Identifier: Apache-2.0
// The Asio shell around a shard: accepts the ranks, receives their chunks straight into the sets, sends results
// straight from the sums. Buckets of ranks on this host are reached through the memory that they share.
// Thread safety: start and destroy from any thread but the loop's, which must run until the server is destroyed.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/copy_meter.h"
#include "common/event.h"
#include "common/log.h"
#include "common/net/connection.h"
#include "common/net/loop.h"
#include "common/result.h"
#include "ps/reach.h"
#include "ps/shard_fsm.h"

namespace tutti::ps {

class Server {
 public:
  struct Options {
    ShardOptions shard;
    Acceptor::Options listen;
    Credentials credentials;
    std::string keeper;          ///< of this host's shared memory; empty: everything goes through sockets
    int sum_helpers = 0;         ///< threads that sum beside the loop's
    CopyMeter* meter = nullptr;  ///< outlives the server
    /// A rank that it does not hear of for half of this it gives up and tells `tell_unreachable` of. Zero: it waits.
    Duration timeout{};
    TellUnreachable tell_unreachable = nullptr;
  };
  /// `clock` and `events` outlive the server; `events` is called on the loop. Errors: those of Acceptor::listen.
  static Result<std::unique_ptr<Server>> start(Loop& loop, Options options, const Clock& clock, EventSink& events,
                                               Logger log);
  /// Closes every connection at once.
  ~Server();

  Endpoint endpoint() const { return endpoint_; }
  /// What its buffers take, used or kept for use: bounded by window, ranks and size of a chunk.
  std::size_t buffer_bytes() const;

 private:
  class Session;
  Server(Loop& loop, std::shared_ptr<Session> session, Endpoint endpoint);

  Loop& loop_;
  std::shared_ptr<Session> session_;  // lives on the loop
  const Endpoint endpoint_;
};

}  // namespace tutti::ps
