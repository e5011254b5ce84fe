// SPDX-License-Identifier: Apache-2.0
// The promises that a world is held to while it runs. What breaks one is thrown as a Violation.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <utility>

#include "common/control/cause.h"
#include "common/net/frame.h"
#include "ps/chunk_plan.h"
#include "ps/shard_fsm.h"
#include "tests/sim/model.h"
#include "tests/sim/process.h"

namespace tutti::sim {

class Checks {
 public:
  explicit Checks(const ps::ObjectTable& table);

  /// One process to a name in a generation: the coordinator is one of them.
  void acts(const Process& process, std::uint32_t generation);
  /// The coordinator has heard of the agent: processes of its host may begin steps until `end`.
  void extends_lease(const Process& agent, TimePoint end);
  /// A worker has a lease, once its agent has had one.
  void begins_step(const Process& worker) const;
  /// An agent is told to end a process of which the coordinator still has a connection, and no word of failure: it was
  /// stopped for the whole timeout.
  void evicts(const Process& evicted) const;
  /// A shard answers with `result`: one value for each chunk and step, the sum of one contribution of each rank.
  void hands_out(const Process& shard, const FrameHeader& header, std::span<const std::byte> result);
  /// A shard's memory is window x ranks x chunk, and what is being received.
  void memory_of(const Process& shard, const ps::ShardObject& object, int window_chunks) const;
  /// A rank has all results of the step after `step` steps, from all shards, and has made its update.
  void makes_step(const Process& worker, std::uint64_t step, const Buckets& result, const Buckets& parameters);
  /// A rank begins with a state that it was given or has loaded.
  void begins_with(const Process& worker, std::uint64_t steps, const Buckets& parameters, const char* source);

  /// Where processes die one by one no step is lost, from the second one on, as long as a rank lives that has the
  /// state.
  void begins_again(const Process& worker) const;
  void may_begin_again() noexcept { may_begin_again_ = true; }

  /// The furthest rank's.
  std::uint64_t steps() const noexcept { return steps_; }
  std::uint64_t digest() const noexcept { return digest_; }

 private:
  struct Name {
    int run;
    std::uint32_t generation;
    bool is_coordinator;
    MemberId member;
    auto operator<=>(const Name&) const = default;
  };

  PlainLoop plain_;
  const ps::ObjectTable table_;
  const ps::ChunkPlan plan_;
  std::map<Name, Process::Id> names_;
  std::map<std::pair<int, int>, TimePoint> leases_;  // by run and host
  std::uint64_t steps_ = 0;
  bool may_begin_again_ = false;
  std::uint64_t digest_ = 0;  // of what was done in which order: the same seed gives the same one
};

}  // namespace tutti::sim
