// SPDX-License-Identifier: Apache-2.0
// A worker's connections to all shards, shared by its objects: the training thread starts buckets and waits, the loop
// does the rest.
// Thread safety: any thread but the loop's. Verbs on one object belong to one thread; abort() to any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "common/clock.h"
#include "common/copy_meter.h"
#include "common/dtype.h"
#include "common/event.h"
#include "common/net/connection.h"
#include "common/net/loop.h"
#include "common/result.h"
#include "ps/client_fsm.h"
#include "ps/host_buckets.h"
#include "ps/messages.h"
#include "ps/pending.h"
#include "ps/reach.h"

namespace tutti::ps {

class ClientSession;

class Client {
 public:
  struct Options {
    std::vector<Endpoint> shards;  ///< by index
    Credentials credentials;       ///< self: this rank and the generation
    int world_size = 1;
    std::uint64_t chunk_bytes = 1u << 20;  ///< equal on all ranks
    int connections = 1;                   ///< to each shard; equal on all ranks
    Placement placement{};                 ///< of this rank among those of its host; no keeper: nothing is shared
    CopyMeter* meter = nullptr;            ///< outlives the client
    /// Ranks and shards may be lost and replaced: a connection that is lost is made again, and reconnect() goes on with
    /// what was started. With it goes placement.keeps_journal.
    bool outlives_losses = false;
    /// With it, whom it does not hear of for half of this it gives up and tells `tell_unreachable` of. Zero: it waits.
    Duration timeout{};
    TellUnreachable tell_unreachable = nullptr;
  };
  /// The buckets of one object. Equal on all ranks but for `memory`.
  struct Buckets {
    std::uint32_t object = 0;
    std::uint32_t number = 0;  ///< of the plan
    std::vector<BucketSpec> specs;
    std::vector<std::byte*> memory;  ///< of each; stays until close() or the next open()
  };

  /// Not connected yet. `loop`, `clock` and `events` outlive the client; `events` is called on the loop and on the
  /// thread that starts buckets.
  Client(Loop& loop, Options options, const Clock& clock, EventSink& events);
  /// Connects to the shards of the options, in the generation of their credentials.
  static Result<std::unique_ptr<Client>> connect(Loop& loop, Options options, const Clock& clock, EventSink& events,
                                                 Deadline deadline);
  /// Connects to every shard. In a new generation it does so again: objects that are open are opened at the shards as
  /// they are now, and what was started goes on. Errors: kUnavailable, kAuthentication, kTimeout, naming the shard;
  /// kSuperseded, after which another call goes on from there.
  Result<> reconnect(std::uint32_t generation, const std::vector<Endpoint>& shards, Deadline deadline);
  bool is_connected() const noexcept { return session_ != nullptr; }
  /// After an abort() with kSuperseded: waits go on, in the generation that was. Errors: the failure that is final.
  Result<> resume() { return pending_.resume(); }
  /// Closes every connection at once.
  ~Client();

  /// Memory for these buckets that the shards of this host reach, too; it holds zeros. Empty where no memory is shared.
  /// Errors: those of host_buckets().
  Result<HostBuckets> place(std::uint32_t object, std::uint32_t number, std::span<const BucketSpec> buckets,
                            Deadline deadline);
  /// Agrees on the buckets with every shard. Buckets that lie where place() said are exchanged there with the shards of
  /// this host. Errors: kMismatch, with the first difference from the other ranks' table.
  Result<> open(Buckets buckets, Deadline deadline);
  /// The bucket's memory holds this rank's input: begin. Never waits. A misuse (ClientFsm::start) ends the next wait
  /// with kUsage. `has_result`: instead of an input it holds the result, which others may lack.
  Result<> start(std::uint32_t object, const Round& round, std::uint32_t bucket, bool has_result = false);
  /// The failure, once there is one.
  Result<> poll() const;
  /// Waits until the bucket, which was started, holds its result. Errors: those of finish().
  Result<> wait(std::uint32_t object, std::uint32_t bucket, Deadline deadline);
  /// Waits until every bucket of `object` that was started holds its result. kTimeout names the shard, the bucket and
  /// the ranks that have not pushed; kPeerLost the shard. Every failure but kSuperseded is final: no later wait
  /// succeeds.
  Result<> finish(std::uint32_t object, Deadline deadline);
  /// What of the results that finish() has waited for is not finite: of each chunk one element for each rank whose
  /// input it was. All ranks are told the same.
  std::vector<NotFiniteResultElement> not_finite(std::uint32_t object) const;
  /// The object's memory is not touched any more, neither here nor, unless an exchange on it has failed, by a shard
  /// that shares it. (What a shard was told to sum before the failure, it may still write.)
  void close(std::uint32_t object);
  /// Ends every wait on every object, now and later, with `cause`, unless there was a failure before.
  void abort(const Failure& cause) noexcept;

 private:
  bool is_placed(const Buckets& buckets) const;
  ObjectTable table_of(std::uint32_t object, std::uint32_t number, std::span<const BucketSpec> specs) const;
  Result<> await_shards(Deadline deadline);
  Result<> await(Pending::Key key, std::uint32_t object, Deadline deadline);

  Loop& loop_;
  const Options options_;
  const Clock& clock_;
  EventSink& events_;
  std::map<std::uint32_t, HostPlaces> placed_;  // by object: what place() said last
  Pending pending_;
  std::uint32_t generation_;
  std::shared_ptr<ClientSession> session_;  // lives on the loop; null until there was a connection
};

}  // namespace tutti::ps
