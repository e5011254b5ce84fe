// SPDX-License-Identifier: Apache-2.0
// One object on one shard: its chunk sets, each rank's credit, and the memory for both.
//
// Credit: on each of its connections a rank may have `window` chunks pushed whose results it has not received. Results
// reach a rank in the order in which they were sent on a connection, so a push beyond the first `window` says that the
// oldest of them has arrived: until then the shard keeps them, and can answer a rank that lost its connection and
// pushes again. What is pushed and what is kept are `window` buffers a connection together; one more holds the frame
// that is being received. A rank whose buckets lie here takes no buffer; nothing is kept for it but that its result is
// in its bucket. Thread safety: owned by one thread.
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
#include "ps/host_buckets.h"
#include "ps/messages.h"

namespace tutti::ps {

/// A result that is to be sent.
struct ShardSend {
  int rank = 0;        ///< to whom
  int connection = 0;  ///< on which of its connections
  FrameHeader header;
  SharedBuffer result;    ///< stays until the last send of it is done; null: the rank has it in its bucket
  std::size_t bytes = 0;  ///< 0 with null
  std::vector<NotFiniteElement> not_finite;
};

/// What follows from a push.
struct ShardStep {
  bool summed = false;             ///< a set was completed by it
  std::uint64_t summed_bytes = 0;  ///< of its result
  std::vector<ShardSend> sends;
};

class ShardObject {
 public:
  /// REQUIRES: check(table) holds.
  ShardObject(ObjectTable table, int shard, std::uint32_t generation, int window_chunks, SumTools tools);

  const ObjectTable& table() const noexcept { return table_; }
  /// The rank's buckets lie elsewhere, until they are said to be shared.
  void opened_by(int rank);
  bool is_opened_by(int rank) const { return members_.at(static_cast<std::size_t>(rank)).opened; }
  /// The rank's buckets are these, and what is done in them is written down where there is a journal. REQUIRES:
  /// is_opened_by(rank); as many and as long as the table says.
  void share(int rank, HostPlaces places);

  /// Where the payload of a push from `rank` goes: exactly as many bytes as the table gives that chunk (none from a
  /// rank that only receives a broadcast, or whose buckets lie here). kProtocol: a chunk that is not here, or belongs
  /// to another connection, another length, another round than the one being collected, no credit. A push with
  /// kHasResult has the chunk's length from every rank whose buckets lie elsewhere; one with kHasRanges names some
  /// of its blocks.
  Result<std::span<std::byte>> place(int rank, int connection, const FrameHeader& push, ByteRanges result_ranges);
  /// The push for which place() was called last on that connection is whole and verified.
  Result<ShardStep> pushed(int rank, int connection);
  /// Nothing more comes on the rank's connection: what was half received is dropped, whole contributions stay.
  void lost(int rank, int connection);

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
    bool is_result;
    ByteRanges result_ranges;
  };
  struct Kept {
    std::uint32_t chunk;
    Round round;
    SharedBuffer result;  // null: the rank has it where it belongs
    std::vector<NotFiniteElement> not_finite;
  };
  struct Lane {  // a rank's chunks on one of its connections
    std::optional<Receiving> receiving;
    int waiting = 0;        // contributions in sets that are not complete
    std::deque<Kept> kept;  // results that may not have arrived there, in the order they were sent
  };
  struct Member {
    bool opened = false;
    HostBuckets buckets;  // empty: they lie elsewhere
    std::vector<Lane> lanes;
  };

  Member& member(int rank) { return members_.at(static_cast<std::size_t>(rank)); }
  const Member& member(int rank) const { return members_.at(static_cast<std::size_t>(rank)); }
  Lane& lane(int rank, int connection) { return member(rank).lanes.at(static_cast<std::size_t>(connection)); }
  int connection_of(std::uint32_t chunk) const { return map_.connection_of(plan_.chunks()[chunk]); }
  bool is_in_place(int rank) const { return !member(rank).buckets.empty(); }
  Result<PushKind> admit(int rank, std::uint32_t chunk, const Round& round) const;
  Result<> check_chunk(int rank, int connection, const FrameHeader& push) const;
  Result<> check_length(int rank, const FrameHeader& push) const;
  Result<> check_ranges(int rank, const FrameHeader& push, const ByteRanges& result_ranges) const;
  Failure refuse_to_grow(int rank) const;
  Contribution contribution(int rank, Receiving push) const;
  Result<ShardStep> add(int rank, Receiving push);
  Result<ShardStep> complete(int rank, std::uint32_t chunk);
  ShardStep send_again(int rank, const Receiving& repeat);
  ShardSend make_send(int rank, const Kept& kept) const;

  const ObjectTable table_;
  const int shard_;
  const std::uint32_t generation_;
  const std::size_t window_;
  const SumTools tools_;
  const ChunkPlan plan_;
  const ShardMap map_;
  SumJournal journal_;
  BufferPool pool_;
  std::vector<ChunkSet> sets_;   // by chunk; those of other shards stay empty
  std::vector<Member> members_;  // by rank
  std::size_t sets_collecting_ = 0;
};

}  // namespace tutti::ps
