// SPDX-License-Identifier: Apache-2.0
// What clients and shards say to each other besides tensor bytes. A client opens an object (one DataParallel) with its
// table; then it pushes chunks and receives results. A push is identified by (generation, step, exchange, object, rank,
// chunk), all in its header.
//   kOpen    client -> shard   control: OpenRequest; on the first connection
//   kOpened  shard -> client   control: Opened
//   kPush    client -> shard   payload: this rank's chunk; none from a rank that only receives a broadcast
//   kResult  shard -> client   payload: the reduced chunk
// Where a shard has opened a rank's buckets in place, in memory that both share, neither of the last two has a payload:
// the chunk's number says where the bytes lie. The frame orders them: the rank wrote its input before it gave the push
// to the system, the shard its result before it gave the result to it, and neither touches the chunk in between. So no
// mark in the shared memory is needed.
//   kPush with kHasRanges   control: ResultRanges
//   kResult with kNotFinite   control: NotFiniteResult
//   kPush with kQuestion, answered by kResult with kQuestion   control: Missing
// Thread safety: values.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "common/net/frame.h"
#include "common/result.h"
#include "ps/byte_ranges.h"
#include "ps/not_finite.h"

namespace tutti::ps {

/// A flag of kPush and kResult: instead of bytes, who has not pushed the chunk yet?
inline constexpr std::uint16_t kQuestion = 1;
/// A flag of kPush: the rank has the chunk's result already, from a generation before, and pushes that. The others get
/// it instead of a sum; the rank itself is answered without a payload once everybody has pushed.
inline constexpr std::uint16_t kHasResult = 2;
/// A flag of kPush: of some of the chunk's bytes the rank has the result already, since a shard was lost in the middle
/// of the sum; it pushes that of those, and its input of the others. The control part says of which. Never of a
/// broadcast.
inline constexpr std::uint16_t kHasRanges = 4;

/// A flag of kResult: some of its elements are not finite. The control part says of one for each rank whose
/// contribution is to blame.
inline constexpr std::uint16_t kNotFinite = 8;

inline constexpr std::uint32_t kObjectsMax = 1024;
inline constexpr std::uint64_t kChunksMax = 1u << 20;
/// Between one rank and one shard.
inline constexpr std::int32_t kConnectionsMax = 16;

/// One exchange of all buckets; a step may hold several.
struct Round {
  std::uint64_t step = 0;
  std::uint16_t exchange = 0;
  auto operator<=>(const Round&) const = default;
};
/// "step 12", "step 12 (exchange 1)"
std::string describe(const Round& round);
inline Round round_of(const FrameHeader& header) {
  return {header.step, header.exchange};
}

/// What must be equal on all ranks: from it everybody computes the same chunks, their lengths and their shards.
struct ObjectTable {
  std::uint32_t object = 0;
  std::uint32_t number = 0;  ///< of the plan: a higher one replaces a lower one
  std::int32_t world_size = 1;
  std::int32_t shards = 1;
  std::uint64_t chunk_bytes = 1u << 20;
  std::vector<BucketSpec> buckets;
  std::int32_t connections = 1;  ///< between each rank and each shard

  template <class Archive>
  void serialize(Archive& archive) {
    archive(object, number, world_size, shards, chunk_bytes, buckets, connections);
  }
  bool operator==(const ObjectTable&) const = default;
};

/// Where a rank's buckets lie in the memory that the processes of its host share (common/host_memory.h).
struct Placement {
  std::string keeper;  ///< who hands that memory out; empty: they lie in memory of the rank's own
  std::int32_t local_rank = 0;
  std::int32_t local_size = 1;
  bool keeps_journal = false;  ///< sums leave behind what they have done (chunk_journal.h)

  template <class Archive>
  void serialize(Archive& archive) {
    archive(keeper, local_rank, local_size, keeps_journal);
  }
  bool operator==(const Placement&) const = default;
};

struct OpenRequest {
  ObjectTable table;
  Placement placement;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(table, placement);
  }
};

/// Refuses what no rank can mean, before anything is allocated for it: sizes beyond the limits, a reduction that its
/// dtype does not have.
Result<> check(const ObjectTable& table);
/// "bucket 3 has 100 elements of F32, 101 of F32 were expected"; empty when they are equal.
std::string first_difference(const ObjectTable& found, const ObjectTable& expected);

/// The answer to an open: how many chunks may be on their way on each connection from this rank to this shard, or why
/// it was refused.
struct Opened {
  std::uint32_t number = 0;
  std::int32_t window_chunks = 0;
  std::int32_t refused = 0;  ///< an Errc; 0: welcome
  std::string why;
  bool in_place = false;  ///< the shard reads and writes this rank's buckets where they lie

  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, window_chunks, refused, why, in_place);
  }
};

/// With kHasRanges: the bytes that hold the result.
struct ResultRanges {
  ByteRanges ranges;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(ranges);
  }
};

/// What the control part of a kPush names: none without kHasRanges. Errors: kProtocol.
Result<ByteRanges> result_ranges_of(const FrameHeader& push, std::span<const std::byte> control);

/// With kNotFinite.
struct NotFiniteResult {
  std::vector<NotFiniteElement> elements;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(elements);
  }
};

/// What the control part of a kResult names: none without kNotFinite. Errors: kProtocol.
Result<std::vector<NotFiniteElement>> not_finite_of(const FrameHeader& result, std::span<const std::byte> control);

/// The ranks of which a chunk set has no contribution.
struct Missing {
  std::vector<std::int32_t> ranks;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(ranks);
  }
};
/// "rank 2", "ranks 0, 3"
std::string describe_ranks(const std::vector<std::int32_t>& ranks);

}  // namespace tutti::ps
