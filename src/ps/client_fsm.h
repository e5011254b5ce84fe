// SPDX-License-Identifier: Apache-2.0
// The worker's side of one object and all its shards, without I/O: which chunk may be pushed now, where a result goes.
// Results land in the bucket memory they were pushed from. Where ranks and shards may be lost, a result that comes
// through a socket replaces its input only once it is whole: so at any time the bucket holds of each chunk the one or
// the other, and the machine of the next generation pushes again what it holds.
// Thread safety: owned by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/net/frame.h"
#include "common/result.h"
#include "ps/byte_ranges.h"
#include "ps/chunk_plan.h"
#include "ps/messages.h"

namespace tutti::ps {

/// A chunk that may be sent now.
struct ClientPush {
  int shard = 0;
  int connection = 0;  ///< of those to the shard
  FrameHeader header;
  std::span<const std::byte> payload;  ///< in the bucket; it stays unchanged until the result arrives
  std::string control = {};            ///< of the frame
};

/// What follows from a start or a result.
struct ClientStep {
  std::vector<ClientPush> pushes;
  std::optional<std::uint32_t> bucket_done;
};

struct NotFiniteResultElement {
  std::uint32_t bucket = 0;
  std::uint64_t element = 0;  ///< of the bucket
  std::int32_t rank = NotFiniteElement::kNobody;
  auto operator<=>(const NotFiniteResultElement&) const = default;
};

/// A chunk whose result has not come.
struct ClientWait {
  int shard = 0;
  std::uint32_t chunk = 0;
  std::uint32_t bucket = 0;
};

struct ClientWays {
  bool is_shared = false;     ///< shards were told where they can find the buckets
  bool keeps_inputs = false;  ///< until the result is whole
};

/// What a bucket holds of a chunk, in the round that is under way.
enum class ChunkState : std::uint8_t { kIdle, kInput, kResult };

/// How far an object is: what the machine of the next generation goes on from.
struct ClientStanding {
  std::optional<Round> round;
  std::uint32_t next_bucket = 0;                      ///< the lowest that may still start
  std::vector<ChunkState> chunks;                     ///< kIdle: its bucket was not started
  std::map<std::uint32_t, ByteRanges> result_ranges;  ///< by chunk, of inputs: bytes that hold the result already
  std::map<std::uint32_t, std::vector<NotFiniteElement>> not_finite = {};  ///< by chunk, of results
};

class ClientFsm {
 public:
  /// `memory` holds each bucket of `table`, in order, and outlives the machine. REQUIRES: check(table) holds.
  ClientFsm(ObjectTable table, std::vector<std::byte*> memory, int rank, std::uint32_t generation,
            ClientWays ways = {});

  // --- generations
  const ClientStanding& standing() const noexcept { return standing_; }
  /// Goes on from where the machine of the generation before was, for the same table. REQUIRES: before start().
  void take_over(ClientStanding standing) { standing_ = std::move(standing); }
  /// The bucket was found to hold the result of these bytes of an input already. (What only receives a broadcast has
  /// nothing that could be lost: of such a chunk all or nothing.)
  void found_result(std::uint32_t chunk, const ByteRanges& ranges);
  /// All that was started is done, and its rank goes on: nobody will ask for it again.
  void end_round();
  /// Pushes all of the round again that was started. REQUIRES: is_open(), after take_over().
  ClientStep go_on();
  /// A connection was made again, in the same generation: pushes what was not answered on it.
  std::vector<ClientPush> push_again(int shard, int connection) const;

  /// A shard's answer to the open. Its refusal becomes this rank's failure.
  Result<> opened(int shard, const Opened& answer);
  /// Every shard has agreed.
  bool is_open() const;
  std::optional<int> first_not_open() const;

  /// The bucket holds this rank's input, or the result. Within a round buckets start in increasing order (so that every
  /// rank spends its credit on the same chunks), and a round starts when the one before it is finished: otherwise
  /// kUsage. REQUIRES: is_open().
  Result<ClientStep> start(const Round& round, std::uint32_t bucket, ChunkState holds = ChunkState::kInput);
  /// Where the payload of a result goes. kProtocol: a result that is not awaited from that shard, or of another length.
  Result<std::span<std::byte>> place(int shard, const FrameHeader& result);
  /// A result is whole and verified. kProtocol: `not_finite` names ranks or elements that there are not.
  Result<ClientStep> result(int shard, const FrameHeader& result, std::vector<NotFiniteElement> not_finite = {});
  /// In this round's results, in the order of buckets and elements. All ranks are told the same.
  std::vector<NotFiniteResultElement> not_finite() const;

  /// Every bucket that was started holds its result.
  bool finished() const noexcept { return awaited_ == 0; }
  Round round() const noexcept { return standing_.round.value_or(Round{}); }
  /// Buckets that were started in this round.
  std::vector<std::uint32_t> started() const;
  const ObjectTable& table() const noexcept { return table_; }
  const Chunk& chunk(std::uint32_t index) const { return plan_.chunks()[index]; }
  int shard_of(std::uint32_t chunk) const { return map_.shard_of(plan_.chunks()[chunk]); }
  /// The shard reads and writes the buckets where they lie.
  bool is_in_place(int shard) const { return shards_[static_cast<std::size_t>(shard)].in_place; }
  std::size_t chunk_count() const noexcept { return plan_.chunks().size(); }
  /// The first chunk, in the plan's order, that was pushed and not answered (by `shard`).
  std::optional<ClientWait> waits_for(std::optional<int> shard = std::nullopt) const;
  FrameHeader header(FrameType type, std::uint32_t chunk) const;

 private:
  struct Lane {  // one connection
    int in_flight = 0;
    std::deque<std::uint32_t> queued;    // started, but beyond the window
    std::unique_ptr<std::byte[]> aside;  // for the result that is coming in; null: it goes to its bucket
  };
  struct Shard {
    int window = 0;         // 0: not open yet
    bool in_place = false;  // reads and writes the buckets itself
    std::vector<Lane> lanes;
  };

  Result<> check_awaited(int shard, const FrameHeader& result) const;
  Result<> check_not_finite(const FrameHeader& result, const std::vector<NotFiniteElement>& not_finite) const;
  void begin_round(const Round& round);
  void queue(std::uint32_t bucket, ClientStep& step);
  bool brings_bytes(int shard, const Chunk& chunk) const;
  bool gets_bytes(int shard, const Chunk& chunk) const;
  void push_queued(int shard, int connection, std::vector<ClientPush>& pushes);
  ClientPush make_push(int shard, int connection, const Chunk& chunk) const;
  Lane& lane(int shard, int connection) {
    return shards_[static_cast<std::size_t>(shard)].lanes[static_cast<std::size_t>(connection)];
  }
  Lane& lane_of(int shard, const Chunk& chunk) { return lane(shard, map_.connection_of(chunk)); }
  std::byte* memory_of(const Chunk& chunk) const { return memory_[chunk.bucket] + chunk.offset_bytes; }

  const ObjectTable table_;
  const std::vector<std::byte*> memory_;
  const int rank_;
  const std::uint32_t generation_;
  const ClientWays ways_;
  const ChunkPlan plan_;
  const ShardMap map_;
  std::vector<Shard> shards_;
  std::vector<bool> pushed_;         // by chunk: its result is awaited
  std::vector<std::uint64_t> left_;  // by bucket: chunks without a result
  std::uint64_t awaited_ = 0;        // chunks without a result, of all buckets
  ClientStanding standing_;
};

}  // namespace tutti::ps
