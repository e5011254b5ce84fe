// SPDX-License-Identifier: Apache-2.0
// One object on one shard: its chunk sets, each rank's credit, and the memory for both.
//
// Credit: a rank may have `window` chunks pushed whose results it has not received. Results reach a rank in the order
// in which they were sent to it, so a push beyond the first `window` says that the oldest of them has arrived: until
// then the shard keeps them, and can answer a rank that lost its connection and pushes again. What is pushed and what
// is kept are `window` buffers a rank together; one more holds the frame that is being received.
// Thread safety: owned by one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "common/net/frame.h"
#include "common/result.h"
#include "ps/buffer_pool.h"
#include "ps/chunk_plan.h"
#include "ps/chunk_set.h"
#include "ps/messages.h"

namespace tutti::ps {

/// A result that is to be sent.
struct ShardSend {
  int rank = 0;  ///< to whom
  FrameHeader header;
  SharedBuffer result;  ///< stays until the last send of it is done
  std::size_t bytes = 0;
};

/// What follows from a push.
struct ShardStep {
  bool summed = false;  ///< a set was completed by it
  std::vector<ShardSend> sends;
};

class ShardObject {
 public:
  /// REQUIRES: check(table) holds.
  ShardObject(ObjectTable table, int shard, std::uint32_t generation, int window_chunks);

  const ObjectTable& table() const noexcept { return table_; }
  void opened_by(int rank) { member(rank).opened = true; }
  bool is_opened_by(int rank) const { return member(rank).opened; }

  /// Where the payload of a push from `rank` goes: exactly as many bytes as the table gives that chunk (none from a
  /// rank that only receives a broadcast). kProtocol: a chunk that is not here, another length, another round than the
  /// one being collected, no credit.
  Result<std::span<std::byte>> place(int rank, const FrameHeader& push);
  /// The push for which place() was called last is whole and verified.
  Result<ShardStep> pushed(int rank);
  /// Nothing more comes on the rank's connection: what was half received is dropped, whole contributions stay.
  void lost(int rank) { member(rank).receiving.reset(); }

  /// The ranks that are missing from the set of `chunk`; none when it is not being collected.
  std::vector<std::int32_t> missing(std::uint32_t chunk) const;
  /// No set waits for anybody, and nothing is being received.
  bool idle() const noexcept;
  const BufferPool& memory() const noexcept { return pool_; }

 private:
  struct Receiving {
    std::uint32_t chunk;
    Round round;
    Buffer bytes;
  };
  struct Kept {
    std::uint32_t chunk;
    Round round;
    SharedBuffer result;
  };
  struct Member {
    bool opened = false;
    std::optional<Receiving> receiving;
    int waiting = 0;        // contributions in sets that are not complete
    std::deque<Kept> kept;  // results that may not have arrived there, in the order they were sent
  };

  Member& member(int rank) { return members_.at(static_cast<std::size_t>(rank)); }
  const Member& member(int rank) const { return members_.at(static_cast<std::size_t>(rank)); }
  Result<PushKind> admit(int rank, std::uint32_t chunk, const Round& round) const;
  Result<> check_length(int rank, const FrameHeader& push) const;
  ShardStep add(int rank, Receiving contribution);
  ShardStep complete(std::uint32_t chunk);
  ShardStep send_again(int rank, const Receiving& repeat);
  ShardSend make_send(int rank, const Kept& kept) const;

  const ObjectTable table_;
  const int shard_;
  const std::uint32_t generation_;
  const std::size_t window_;
  const ChunkPlan plan_;
  const ShardMap map_;
  BufferPool pool_;
  std::vector<ChunkSet> sets_;   // by chunk; those of other shards stay empty
  std::vector<Member> members_;  // by rank
  std::size_t sets_collecting_ = 0;
};

}  // namespace tutti::ps
