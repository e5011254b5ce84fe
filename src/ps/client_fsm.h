// SPDX-License-Identifier: Apache-2.0
// The worker's side of one object and all its shards, without I/O: which chunk may be pushed now, where a result goes.
// Results land in the bucket memory they were pushed from.
// Thread safety: owned by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "common/net/frame.h"
#include "common/result.h"
#include "ps/chunk_plan.h"
#include "ps/messages.h"

namespace tutti::ps {

/// A chunk that may be sent now.
struct ClientPush {
  int shard = 0;
  int connection = 0;  ///< of those to the shard
  FrameHeader header;
  std::span<const std::byte> payload;  ///< in the bucket; it stays unchanged until the result arrives
};

/// What follows from a start or a result.
struct ClientStep {
  std::vector<ClientPush> pushes;
  std::optional<std::uint32_t> bucket_done;
};

/// A chunk whose result has not come.
struct ClientWait {
  int shard = 0;
  std::uint32_t chunk = 0;
  std::uint32_t bucket = 0;
};

class ClientFsm {
 public:
  /// `memory` holds each bucket of `table`, in order, and outlives the machine; `is_shared`: shards were told where
  /// they can find it. REQUIRES: check(table) holds.
  ClientFsm(ObjectTable table, std::vector<std::byte*> memory, int rank, std::uint32_t generation,
            bool is_shared = false);

  /// A shard's answer to the open. Its refusal becomes this rank's failure.
  Result<> opened(int shard, const Opened& answer);
  /// Every shard has agreed.
  bool is_open() const;
  std::optional<int> first_not_open() const;

  /// The bucket holds this rank's input. Within a round buckets start in increasing order (so that every rank spends
  /// its credit on the same chunks), and a round starts when the one before it is finished: otherwise kUsage. REQUIRES:
  /// is_open().
  Result<ClientStep> start(const Round& round, std::uint32_t bucket);
  /// Where the payload of a result goes. kProtocol: a result that is not awaited from that shard, or of another length.
  Result<std::span<std::byte>> place(int shard, const FrameHeader& result) const;
  /// A result is whole and verified.
  Result<ClientStep> result(int shard, const FrameHeader& result);

  /// Every bucket that was started holds its result.
  bool finished() const noexcept { return awaited_ == 0; }
  const Round& round() const noexcept { return round_; }
  const ObjectTable& table() const noexcept { return table_; }
  const Chunk& chunk(std::uint32_t index) const { return plan_.chunks()[index]; }
  std::size_t chunk_count() const noexcept { return plan_.chunks().size(); }
  /// The first chunk, in the plan's order, that was pushed and not answered (by `shard`).
  std::optional<ClientWait> waits_for(std::optional<int> shard = std::nullopt) const;
  FrameHeader header(FrameType type, std::uint32_t chunk) const;

 private:
  struct Lane {  // one connection
    int in_flight = 0;
    std::deque<std::uint32_t> queued;  // started, but beyond the window
  };
  struct Shard {
    int window = 0;         // 0: not open yet
    bool in_place = false;  // reads and writes the buckets itself
    std::vector<Lane> lanes;
  };

  Result<> check_awaited(int shard, const FrameHeader& result) const;
  void push_queued(int shard, int connection, std::vector<ClientPush>& pushes);
  ClientPush make_push(int shard, int connection, const Chunk& chunk) const;
  Lane& lane(int shard, int connection) {
    return shards_[static_cast<std::size_t>(shard)].lanes[static_cast<std::size_t>(connection)];
  }
  bool is_in_place(int shard) const { return shards_[static_cast<std::size_t>(shard)].in_place; }
  std::byte* memory_of(const Chunk& chunk) const { return memory_[chunk.bucket] + chunk.offset_bytes; }

  const ObjectTable table_;
  const std::vector<std::byte*> memory_;
  const int rank_;
  const std::uint32_t generation_;
  const bool is_shared_;
  const ChunkPlan plan_;
  const ShardMap map_;
  std::vector<Shard> shards_;
  std::vector<bool> pushed_;         // by chunk: its result is awaited
  std::vector<std::uint64_t> left_;  // by bucket: chunks without a result
  std::uint64_t awaited_ = 0;        // chunks without a result, of all buckets
  Round round_;
  std::uint32_t next_bucket_ = 0;  // the lowest that may still start in this round
  bool begun_ = false;             // there was a round
};

}  // namespace tutti::ps
